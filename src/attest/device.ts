// Whose attestation it is: a certificate that one of the device CAs issued, and the signature with which the
// certificate's key vouches for the key in the TPM.
import { isSignedBy } from "../trust/algorithms.ts";
import { type Certificate, isIssuedBy, namesIssuer, readCertificates } from "../trust/certificate.ts";
import { deviceOf } from "../trust/product.ts";
import { type Check, refusal, within } from "./refusal.ts";

export interface Device {
  readonly product: string;
  readonly machine: string;
  readonly certificate: Certificate;
  /** The CA that issued it. */
  readonly issuer: Certificate;
}

const check: Check = "device-certificate";

function checkDates(certificate: Certificate, now: Date): void {
  const { notBefore, notAfter, subject } = certificate;
  if (now >= notBefore && now <= notAfter) return;
  const [from, until] = [notBefore, notAfter].map((date) => date.toISOString());
  throw refusal(
    check,
    `the certificate ${subject.text} is valid from ${from} to ${until}, and it is ${now.toISOString()}`,
  );
}

/** Directly under the CA: there is nothing between it and the devices of a keyset. */
function issuerOf(certificate: Certificate, cas: readonly Certificate[]): Certificate {
  const named = cas.filter((ca) => namesIssuer(certificate, ca));
  const issuer = named.find((ca) => isIssuedBy(certificate, ca));
  if (issuer === undefined) {
    const why = named.length === 0 ? "which is not one of yours" : "but not by the key of yours";
    throw refusal(
      check,
      `its certificate ${certificate.subject.text} was issued by "${certificate.issuer.text}", ${why}`,
    );
  }
  const { isCa, keyUsage } = issuer.permissions;
  if (!isCa || (keyUsage !== undefined && !keyUsage.has("keyCertSign"))) {
    throw refusal(check, `${issuer.subject.text} may not issue certificates`);
  }
  return issuer;
}

/**
 * Reads and checks the device's certificate.
 * @param pem the device's own certificate comes first
 * @throws MosError `attestation-refused`
 */
export function verifyDevice(pem: Uint8Array, cas: readonly Certificate[], now: Date): Device {
  const [certificate] = within(check, () => readCertificates(pem));
  const { isCa, keyUsage } = certificate.permissions;
  if (isCa || (keyUsage !== undefined && !keyUsage.has("digitalSignature"))) {
    throw refusal(check, `${certificate.subject.text} may not sign for a device`);
  }
  const issuer = issuerOf(certificate, cas);
  for (const one of [certificate, issuer]) checkDates(one, now);
  const device = deviceOf(certificate.subject.serialNumber);
  if (device === undefined) throw refusal(check, `${certificate.subject.text} is no device`);
  return { ...device, certificate, issuer };
}

/** Whether the device's key signed the statement. @throws MosError `attestation-refused` */
export function verifyBinding({ certificate }: Device, statement: Uint8Array, signature: Uint8Array): void {
  if (isSignedBy(certificate.publicKey, "sha256", statement, signature)) return;
  throw refusal(
    "binding",
    "the device's key did not vouch for the key in the TPM, for this nonce and what is applied",
  );
}
