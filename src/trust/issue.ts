// Makes keys and certificates after a profile. Build hosts only: @peculiar/x509 is loaded when the first
// certificate is made, and nothing on a device's boot path imports this file.
import { createPublicKey, KeyObject, randomBytes, webcrypto } from "node:crypto";
import type { Certificate } from "./certificate.ts";
import { type KeyType, type Profile, roles, type SubjectPart } from "./profiles.ts";
import type { SigningKey } from "./signature.ts";

interface IssueInput {
  readonly profile: Profile;
  /** The name parts before the common name. */
  readonly organization: readonly SubjectPart[];
  readonly keyType: KeyType;
  readonly now: Date;
  /** Undefined: the certificate is signed by its own key. */
  readonly issuer?: { readonly certificate: Certificate; readonly key: SigningKey };
}

export interface Issued {
  /** PKCS#8 PEM. Secret: it goes to a file of mode 0600 and nowhere else. */
  readonly privateKeyPem: string;
  readonly certificatePem: string;
}

const keyAlgorithms = {
  rsa2048: {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  },
  p256: { name: "ECDSA", hash: "SHA-256", namedCurve: "P-256" },
} as const;

async function loadX509() {
  await import("./reflect-metadata.ts");
  return await import("@peculiar/x509");
}

/** A positive serial number of 127 random bits (RFC 5280 section 4.1.2.2), always 16 octets long. */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes.toString("hex");
}

/** The end of the validity; never later than the issuer's own, which would end the chain anyway. */
function endOf(profile: Profile, from: Date, issuer: Certificate | undefined): Date {
  const { validity } = profile;
  const end = new Date(typeof validity === "number" ? from : validity);
  if (typeof validity === "number") end.setUTCFullYear(end.getUTCFullYear() + validity);
  return issuer !== undefined && issuer.notAfter < end ? issuer.notAfter : end;
}

function pem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: "pkcs8", format: "pem" }).toString();
}

/** Imports the issuer's two halves into WebCrypto, the form that @peculiar/x509 takes. */
async function importIssuer(key: SigningKey) {
  const algorithm = key.asymmetricKeyType === "rsa" ? keyAlgorithms.rsa2048 : keyAlgorithms.p256;
  const pkcs8 = key.export({ type: "pkcs8", format: "der" });
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const { subtle } = webcrypto;
  return {
    signing: await subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]),
    public: await subtle.importKey("spki", spki, algorithm, true, ["verify"]),
  };
}

/** Makes a new key and its certificate. */
export async function issue(input: IssueInput): Promise<Issued> {
  const { profile, issuer } = input;
  const { isCa, keyUsage, extendedKeyUsage } = roles[profile.role];
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(keyAlgorithms[input.keyType], true, ["sign", "verify"]);
  const above = issuer === undefined ? undefined : await importIssuer(issuer.key);
  const notBefore = new Date(Math.floor(input.now.getTime() / 1000) * 1000);
  const subject = new x509.Name([
    ...input.organization.flatMap((part) =>
      Object.entries(part).map(([type, value]) => ({ [type]: [value] })),
    ),
    { CN: [profile.commonName] },
  ]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: randomSerial(),
    subject,
    issuer: issuer === undefined ? subject : new x509.Name(new Uint8Array(issuer.certificate.subject.raw)),
    notBefore,
    notAfter: endOf(profile, notBefore, issuer?.certificate),
    publicKey: keys.publicKey,
    signingKey: above?.signing ?? keys.privateKey,
    signingAlgorithm: { name: (above?.signing ?? keys.privateKey).algorithm.name, hash: "SHA-256" },
    extensions: [
      ...(isCa ? [new x509.BasicConstraintsExtension(true, undefined, true)] : []),
      ...(keyUsage.length === 0
        ? []
        : [
            new x509.KeyUsagesExtension(
              keyUsage.reduce((flags, use) => flags | x509.KeyUsageFlags[use], 0),
              true,
            ),
          ]),
      ...(extendedKeyUsage.length === 0
        ? []
        : [new x509.ExtendedKeyUsageExtension(extendedKeyUsage.map((use) => x509.ExtendedKeyUsage[use]))]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(above === undefined ? [] : [await x509.AuthorityKeyIdentifierExtension.create(above.public)]),
    ],
  });
  return { privateKeyPem: pem(keys.privateKey), certificatePem: `${certificate.toString("pem")}\n` };
}
