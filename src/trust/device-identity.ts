// Which product a device is: what its policy says, and what its own certificate says (the published system's SUDI
// certificate, from the TPM by way of the initrd). Where both speak they have to agree.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { readCertificates } from "./certificate.ts";
import { maxPemSize } from "./pem.ts";
import type { Policy } from "./policy.ts";
import { type DeviceProduct, deviceOf } from "./product.ts";
import { readTrusted } from "./trusted-file.ts";

/** What a device's own certificate says of it. */
interface CertifiedDevice extends DeviceProduct {
  readonly machine: string;
}

/**
 * Product and machine of this device as its certificate has them.
 * @param paths where that may be; the first that is there holds
 * @returns undefined where there is none
 * @throws MosError `product-mismatch` when it cannot be read
 */
export async function deviceIdentity(paths: readonly string[]): Promise<CertifiedDevice | undefined> {
  for (const path of paths) {
    const file = await readTrusted(path, maxPemSize, "product-mismatch");
    if (file !== undefined) return readDevice(file.bytes, path);
  }
  return undefined;
}

function readDevice(pem: Uint8Array, path: string): CertifiedDevice {
  const refuse = (why: string, cause?: unknown): MosError =>
    new MosError("product-mismatch", `cannot tell which product this device is: ${why}`, {
      about: path,
      cause,
    });
  try {
    const [certificate] = readCertificates(pem);
    const device = deviceOf(certificate.subject.serialNumber);
    if (device === undefined) throw refuse(`its certificate is for ${certificate.subject.text}`);
    return { ...device, source: `the device's certificate ${path}` };
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
  const certified = await deviceIdentity(certificatePaths);
  if (policy.product === undefined) {
    return certified === undefined ? undefined : { product: certified.product, source: certified.source };
  }
  if (certified !== undefined && certified.product !== policy.product) {
    throw new MosError(
      "product-mismatch",
      `cannot tell which product this device is: ${certified.source} says ${certified.product}, the policy ${policy.product}`,
      { about: policy.source },
    );
  }
  return { product: policy.product, source: `the policy ${policy.source}` };
}
