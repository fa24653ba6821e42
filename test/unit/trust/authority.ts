// Certificates for the tests of this room, good by default; a test breaks one by one named change.
import { webcrypto } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import { type Certificate, readCertificate } from "../../../src/trust/certificate.ts";
import type { Anchor } from "../../../src/trust/chain.ts";

// @peculiar/x509 loads only after the functions it needs of Reflect; static imports could come in any order.
await import("../../../src/trust/reflect-metadata.ts");
export const x509 = await import("@peculiar/x509");

type KeyAlgorithm = Parameters<typeof webcrypto.subtle.generateKey>[0];

const p256 = { name: "ECDSA", namedCurve: "P-256" };
export const rsa = (modulusLength: number, hash = "SHA-256", name = "RSASSA-PKCS1-v1_5") => ({
  ...{ name, hash, modulusLength },
  publicExponent: new Uint8Array([1, 0, 1]),
});

const day = (text: string): Date => new Date(`${text}T00:00:00Z`);
export const at = (text: string) => ({ kind: "at", date: day(text), source: "the system clock" }) as const;

interface Wanted {
  readonly subject?: string | X509.JsonName | X509.Name;
  /** Undefined: self-signed. */
  readonly issuer?: Issued;
  /** A name to give for the issuer instead of its own. */
  readonly issuerName?: string;
  readonly ca?: boolean | { readonly pathLength: number };
  readonly keyUsage?: X509.KeyUsageFlags | "none";
  readonly purposes?: readonly string[];
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly key?: KeyAlgorithm;
  /** Certify this key instead of a new one. */
  readonly keysOf?: Issued;
  /** Hash of an ECDSA signature. */
  readonly hash?: string;
  readonly extra?: readonly X509.Extension[];
}

export interface Issued {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly x509: X509.X509Certificate;
}

/** A certificate with a new key; by default what a keyset's CA or project has. */
export async function make(wanted: Wanted): Promise<Issued> {
  const isCa = wanted.ca !== undefined && wanted.ca !== false;
  const generated =
    wanted.keysOf?.keys ?? (await webcrypto.subtle.generateKey(wanted.key ?? p256, true, ["sign", "verify"]));
  if (!("privateKey" in generated)) throw new Error("a key pair was wanted");
  const signingKey = wanted.issuer?.keys.privateKey ?? generated.privateKey;
  const usage =
    wanted.keyUsage ?? (isCa ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature);
  const purposes = wanted.purposes ?? (isCa ? [] : [x509.ExtendedKeyUsage.codeSigning]);
  const subject = wanted.subject ?? (isCa ? "CN=Root" : "CN=Signer");
  const pathLength = typeof wanted.ca === "object" ? wanted.ca.pathLength : undefined;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "4d6f73",
    subject,
    issuer: wanted.issuerName ?? wanted.issuer?.x509.subjectName ?? subject,
    notBefore: day(wanted.notBefore ?? "2020-01-01"),
    notAfter: day(wanted.notAfter ?? "2040-01-01"),
    publicKey: generated.publicKey,
    signingKey,
    signingAlgorithm: { name: signingKey.algorithm.name, hash: wanted.hash ?? "SHA-256", saltLength: 32 },
    extensions: [
      ...(isCa ? [new x509.BasicConstraintsExtension(true, pathLength, true)] : []),
      ...(usage === "none" ? [] : [new x509.KeyUsagesExtension(usage, true)]),
      ...(purposes.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...purposes])]),
      ...(wanted.extra ?? []),
    ],
  });
  const der = new Uint8Array(certificate.rawData);
  return { der, pem: `${certificate.toString("pem")}\n`, keys: generated, x509: certificate };
}

export const read = ({ der }: Issued): Certificate => readCertificate(der);
export const anchor = (issued: Issued): Anchor => ({ certificate: read(issued), source: "file:/anchor.pem" });
export const bytes = (text: string): Uint8Array => Buffer.from(text);

/** The code of the MosError that a call throws, or "accepted". */
export function codeOf(call: () => unknown): string {
  try {
    call();
    return "accepted";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : `not a MosError: ${error}`;
  }
}
