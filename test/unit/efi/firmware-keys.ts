// Keys and certificates as a firmware's db has them: RSA, made once per test file.
import { createPrivateKey } from "node:crypto";
import type { Certificate } from "../../../src/trust/certificate.ts";
import { readSigningKey, type SigningKey } from "../../../src/trust/signature.ts";
import { type Issued, make, read, rsa } from "../trust/authority.ts";

export interface FirmwareKey {
  readonly issued: Issued;
  readonly certificate: Certificate;
  readonly key: SigningKey;
}

/** A certificate and its key; self-signed unless an issuer is given. */
export async function firmwareKey(wanted: Parameters<typeof make>[0] = {}): Promise<FirmwareKey> {
  const issued = await make({ key: rsa(2048), ...wanted });
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", issued.keys.privateKey));
  const object = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const pem = object.export({ type: "pkcs8", format: "pem" }).toString();
  return { issued, certificate: read(issued), key: readSigningKey(pem, "test") };
}
