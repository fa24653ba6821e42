// Key derivation: KDFa and KDFe (Part 1, sections 11.4.10.2 and 11.4.10.3).
import { createHmac } from "node:crypto";
import { digest, digestSizes, type HashName } from "./hashes.ts";

const number = (value: number): Uint8Array => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** The label as it is hashed: with a terminating NUL. */
const labelBytes = (label: string): Uint8Array => Buffer.from(`${label}\0`, "latin1");

function blocks(hash: HashName, bits: number, block: (counter: number) => Uint8Array): Uint8Array {
  const size = digestSizes[hash];
  const result = new Uint8Array(Math.ceil(bits / 8));
  for (let counter = 1, at = 0; at < result.length; counter++, at += size) {
    result.set(block(counter).subarray(0, result.length - at), at);
  }
  return result;
}

/** A key of `bits` (a multiple of 8) from a secret key, by HMAC in counter mode. */
export function kdfA(
  hash: HashName,
  key: Uint8Array,
  label: string,
  context: readonly [Uint8Array, Uint8Array],
  bits: number,
): Uint8Array {
  return blocks(hash, bits, (counter) => {
    const hmac = createHmac(hash, key).update(number(counter)).update(labelBytes(label));
    return hmac.update(context[0]).update(context[1]).update(number(bits)).digest();
  });
}

/** A key of `bits` (a multiple of 8) from the shared secret of a Diffie-Hellman exchange. */
export function kdfE(
  hash: HashName,
  shared: Uint8Array,
  label: string,
  parties: readonly [Uint8Array, Uint8Array],
  bits: number,
): Uint8Array {
  return blocks(hash, bits, (counter) =>
    digest(hash, number(counter), shared, labelBytes(label), ...parties),
  );
}
