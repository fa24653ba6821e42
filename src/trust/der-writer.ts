// Writes DER (ITU-T X.690): elements out of their parts, the inverse of der.ts for what mos signs itself.

/** One element: identifier, the length in its fewest octets, and the parts one after the other. */
export function derElement(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Uint8Array.of(tag, content.length), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  return Buffer.concat([Uint8Array.of(tag, 0x80 | length.length), length, content]);
}

/** OBJECT IDENTIFIER from its dotted form (X.690 8.19). */
export function derOidOf(dotted: string): Uint8Array {
  const [first = 0n, second = 0n, ...rest] = dotted.split(".").map(BigInt);
  const octets = [first * 40n + second, ...rest].flatMap((part) => {
    const digits = [Number(part & 0x7fn)];
    for (let left = part >> 7n; left > 0n; left >>= 7n) digits.unshift(Number(left & 0x7fn) | 0x80);
    return digits;
  });
  return derElement(0x06, Uint8Array.from(octets));
}

/** SET OF: its members in the order of their encodings (X.690 11.6). */
export function derSetOf(members: readonly Uint8Array[], tag = 0x31): Uint8Array {
  return derElement(tag, ...members.toSorted(Buffer.compare));
}
