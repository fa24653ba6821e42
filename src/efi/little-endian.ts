// The little-endian structures of UEFI, PE/COFF and TCG: a reader that cannot be led outside of its bytes, and
// the integers to write them with. Errors are SyntaxErrors; each decoder gives them a code of its own.

/** Takes fields in order; every length is checked before anything is taken. */
export class FieldReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes that are not taken yet. */
  get left(): number {
    return this.bytes.length - this.at;
  }

  /** How many bytes were taken. */
  get position(): number {
    return this.at;
  }

  private advance(count: number, what: string): number {
    if (count > this.left) throw new SyntaxError(`${what} ends early, at byte ${this.bytes.length}`);
    const start = this.at;
    this.at += count;
    return start;
  }

  u8(what: string): number {
    return this.view.getUint8(this.advance(1, what));
  }

  u16(what: string): number {
    return this.view.getUint16(this.advance(2, what), true);
  }

  u32(what: string): number {
    return this.view.getUint32(this.advance(4, what), true);
  }

  /** UINT64 and UINTN of a 64-bit firmware; no length or count that is believable needs more than 53 bits. */
  u64(what: string): number {
    const value = this.view.getBigUint64(this.advance(8, what), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new SyntaxError(`${what} has an absurd number`);
    return Number(value);
  }

  /** The next bytes, not copied. */
  take(count: number, what: string): Uint8Array {
    const start = this.advance(count, what);
    return this.bytes.subarray(start, start + count);
  }

  /** @throws SyntaxError when something is left */
  end(what: string): void {
    if (this.left !== 0) throw new SyntaxError(`${what} has ${this.left} bytes after its end`);
  }
}

export function u16le(value: number): Uint8Array {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

export function u32le(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64le(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

/** UTF-16LE without an end mark: how UEFI counts and hashes the names of variables. */
export function utf16le(text: string): Uint8Array {
  return Buffer.from(text, "utf16le");
}
