// Product binding: the product in the manifest, in the signing certificate and in the device's identity must be
// one. Without it any project under the CA could install on any of its devices (attack A07). Pure.
import { MosError } from "../errors/mos-error.ts";

/** What a device knows of itself. */
export interface DeviceProduct {
  readonly product: string;
  /** Where that is from, as an error names it: `the policy /usr/lib/mos/policy.json`. */
  readonly source: string;
}

interface ProductClaims {
  readonly manifest: string;
  /** Common name of the signing certificate. */
  readonly signerName: string | undefined;
  /** Undefined for a device without an identity. */
  readonly device: DeviceProduct | undefined;
  /** The certificate's product of what runs, which binds a device that has no identity. */
  readonly running: string | undefined;
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The product in the common name of a project's certificate, `manifest PRODUCT:<product>`. */
export function productOfSigner(commonName: string | undefined): string | undefined {
  return /^manifest PRODUCT:(\S+)$/.exec(commonName ?? "")?.[1];
}

/**
 * The product in the subject of a device's certificate, whose serialNumber is `PID:<product> SN:<machine>`.
 * @param serialNumber the attribute of that name (2.5.4.5)
 */
export function productOfDevice(serialNumber: string | undefined): string | undefined {
  return deviceOf(serialNumber)?.product;
}

/** Product and machine in that subject, undefined when it names no device. */
export function deviceOf(
  serialNumber: string | undefined,
): { readonly product: string; readonly machine: string } | undefined {
  const [, product, machine] = /^PID:(\S+) SN:(\S+)$/.exec(serialNumber ?? "") ?? [];
  return product === undefined || machine === undefined ? undefined : { product, machine };
}

/** The machine in the same attribute. */
export function machineOfDevice(serialNumber: string | undefined): string | undefined {
  return /^PID:\S+ SN:(\S+)$/.exec(serialNumber ?? "")?.[1];
}

/**
 * Checks that all who name a product name the same.
 *
 * On a device that knows its product nothing may be silent. Elsewhere a certificate without a product is accepted,
 * and so is a manifest that names its product otherwise than by a uuid, as the published demo does (`default`).
 * @throws MosError `product-mismatch`
 */
export function checkProduct({ manifest, signerName, device, running }: ProductClaims): void {
  const signed = productOfSigner(signerName);
  const refuse = (why: string): never => {
    throw new MosError("product-mismatch", `cannot accept the manifest: ${why}`, { about: manifest });
  };
  if (device !== undefined) {
    const { product, source } = device;
    if (signed === undefined)
      refuse(`its signing certificate names no product, and ${source} says ${product}`);
    if (signed !== product) refuse(`it was signed for the product ${signed}, and ${source} says ${product}`);
    if (manifest !== product) refuse(`it is for the product ${manifest}, and ${source} says ${product}`);
    return;
  }
  if (signed !== undefined && uuidPattern.test(manifest) && manifest !== signed) {
    refuse(`it is for the product ${manifest}, but was signed for ${signed}`);
  }
  if (running !== undefined && signed !== running) {
    refuse(`it was signed for ${signed ?? "no product"}, and what runs here for ${running}`);
  }
}
