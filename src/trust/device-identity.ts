// Which product a device is: what its policy says, and what its own certificate says (the published system's SUDI
// certificate, from the TPM by way of the initrd). Where both speak they have to agree.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { readCertificates } from "./certificate.ts";
import { maxPemSize } from "./pem.ts";
import type { Policy } from "./policy.ts";
import { type DeviceProduct, productOfDevice } from "./product.ts";
import { readTrusted } from "./trusted-file.ts";

async function certifiedProduct(paths: readonly string[]): Promise<DeviceProduct | undefined> {
  for (const path of paths) {
    const file = await readTrusted(path, maxPemSize, "product-mismatch");
    if (file !== undefined) return readProduct(file.bytes, path);
  }
  return undefined;
}

function readProduct(pem: Uint8Array, path: string): DeviceProduct {
  const refuse = (why: string, cause?: unknown): MosError =>
    new MosError("product-mismatch", `cannot tell which product this device is: ${why}`, {
      about: path,
      cause,
    });
  try {
    const [certificate] = readCertificates(pem);
    const product = productOfDevice(certificate.subject.serialNumber);
    if (product === undefined) throw refuse(`its certificate is for ${certificate.subject.text}`);
    return { product, source: `the device's certificate ${path}` };
  } catch (error) {
    const known = asMosError(error);
    throw known.code === "product-mismatch" ? known : refuse(known.message, error);
  }
}

/**
 * The product of this device, or undefined when nothing says one.
 * @param certificatePaths where the device's certificate may be; the first that is there holds
 * @throws MosError `product-mismatch` when policy and certificate differ, or the certificate cannot be read
 */
export async function deviceProduct(
  policy: Policy,
  certificatePaths: readonly string[],
): Promise<DeviceProduct | undefined> {
  const certified = await certifiedProduct(certificatePaths);
  if (policy.product === undefined) return certified;
  if (certified !== undefined && certified.product !== policy.product) {
    throw new MosError(
      "product-mismatch",
      `cannot tell which product this device is: ${certified.source} says ${certified.product}, the policy ${policy.product}`,
      { about: policy.source },
    );
  }
  return { product: policy.product, source: `the policy ${policy.source}` };
}
