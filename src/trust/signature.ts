// Signatures over the bytes of install.json. RSASSA-PKCS1-v1_5 or ECDSA P-256, both with SHA-256: what
// `openssl dgst -sha256 -sign KEY install.json` makes and what the published format holds (raw bytes, no wrapping).
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { isSignedBy, type KeyKind, type PublicKey } from "./algorithms.ts";

const algorithms = { rsa: "rsa-pkcs1v15-sha256", p256: "ecdsa-p256-sha256" } as const satisfies Record<
  KeyKind,
  string
>;
export type SignatureAlgorithm = (typeof algorithms)[KeyKind];

/** A private key that may sign manifests. */
export type SigningKey = KeyObject & { readonly __signingKey: true };

function isAcceptable(key: KeyObject): key is SigningKey {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === "rsa") {
    const bits = details?.modulusLength ?? 0;
    return bits >= 2048 && bits <= 8192;
  }
  return key.asymmetricKeyType === "ec" && details?.namedCurve === "prime256v1";
}

/**
 * Reads a private key, unencrypted PKCS#8 PEM.
 * @param about where it comes from, for the error
 * @throws MosError `key-invalid`, which never quotes the key
 */
export function readSigningKey(pem: string, about: string): SigningKey {
  if (!pem.startsWith("-----BEGIN PRIVATE KEY-----")) {
    throw new MosError("key-invalid", "cannot use a private key that is not unencrypted PKCS#8 PEM", {
      about,
    });
  }
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // The cause is left out on purpose: OpenSSL's message may describe what it read.
    throw new MosError("key-invalid", "cannot read a private key: its PEM is damaged", { about });
  }
  if (!isAcceptable(key)) {
    throw new MosError(
      "key-invalid",
      "cannot sign with a key that is not RSA of 2048 to 8192 bits or P-256",
      {
        about,
      },
    );
  }
  return key;
}

/** Signs bytes. With RSA the same bytes always give the same signature; with P-256 another each time. */
export function signBytes(bytes: Uint8Array, key: SigningKey): Uint8Array {
  return sign("sha256", bytes, key);
}

/**
 * Verifies a signature over bytes and says which algorithm it is.
 * @throws MosError `signature-invalid`
 */
export function verifySignature(
  bytes: Uint8Array,
  signature: Uint8Array,
  key: PublicKey,
): SignatureAlgorithm {
  if (!isSignedBy(key, "sha256", bytes, signature)) {
    throw new MosError(
      "signature-invalid",
      `cannot accept the manifest: its signature (${signature.length} bytes) was not made over it by the key of its certificate`,
    );
  }
  return algorithms[key.kind];
}
