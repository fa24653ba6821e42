// The salt of a session: a secret for the TPM alone, encrypted to one of its keys (Part 1, sections B.10.2, C.6.1).
import { constants, createECDH, publicEncrypt, randomBytes } from "node:crypto";
import { encode } from "./buffer.ts";
import { digestSizes } from "./hashes.ts";
import { kdfE } from "./kdf.ts";
import type { EccPublic, Public, RsaPublic } from "./public.ts";
import { keyObjectOf, padded } from "./public-key.ts";

interface Salt {
  readonly secret: Uint8Array;
  /** The contents of a TPM2B_ENCRYPTED_SECRET. */
  readonly encrypted: Uint8Array;
}

/** What the label of every exchange of secrets is. */
const label = "SECRET";

/** A fresh salt. @throws RangeError for a key that cannot take one */
export function makeSalt(key: Public): Salt {
  switch (key.type) {
    case "ecc":
      return saltForEcc(key);
    case "rsa":
      return saltForRsa(key);
    case "keyedHash":
      throw new RangeError("sealed data cannot take a salt");
  }
}

function saltForEcc(key: EccPublic): Salt {
  if (key.curve === "p521") throw new RangeError("sessions are not salted to keys on P-521");
  const size = key.curve === "p256" ? 32 : 48;
  const exchange = createECDH(key.curve === "p256" ? "prime256v1" : "secp384r1");
  const ephemeral = exchange.generateKeys();
  const theirs = Buffer.concat([Buffer.of(4), padded(key.x, size), padded(key.y, size)]);
  const shared = padded(exchange.computeSecret(theirs), size);
  const x = ephemeral.subarray(1, 1 + size);
  const y = ephemeral.subarray(1 + size);
  const secret = kdfE(key.nameHash, shared, label, [x, padded(key.x, size)], 8 * digestSizes[key.nameHash]);
  shared.fill(0);
  return { secret, encrypted: encode((writer) => writer.sized(x).sized(y)) };
}

function saltForRsa(key: RsaPublic): Salt {
  const secret = randomBytes(digestSizes[key.nameHash]);
  const oaep = {
    key: keyObjectOf(key),
    padding: constants.RSA_PKCS1_OAEP_PADDING,
    oaepHash: key.nameHash,
    oaepLabel: Buffer.from(`${label}\0`, "latin1"),
  };
  return { secret, encrypted: publicEncrypt(oaep, secret) };
}
