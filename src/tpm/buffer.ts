// The TPM's wire format: big-endian integers and sized buffers (TCG TPM 2.0 Library, Part 1, section 9.2 and Part 2,
// section 10.4). The reader is strict: what is cut short, too large or followed by something is a SyntaxError.

/** Appends to a buffer that grows. */
export class Writer {
  private bytes = new Uint8Array(256);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  private take(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      // What is written here may be secret: nothing of it stays behind.
      this.bytes.fill(0);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }

  u8(value: number): this {
    const at = this.take(1);
    this.view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.take(2);
    this.view.setUint16(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.take(4);
    this.view.setUint32(at, value);
    return this;
  }

  u64(value: bigint): this {
    const at = this.take(8);
    this.view.setBigUint64(at, value);
    return this;
  }

  raw(value: Uint8Array): this {
    const at = this.take(value.length);
    this.bytes.set(value, at);
    return this;
  }

  /** A TPM2B: its size in 16 bits, then its bytes. */
  sized(value: Uint8Array): this {
    if (value.length > 0xffff) throw new RangeError("a sized buffer of more than 65535 bytes");
    return this.u16(value.length).raw(value);
  }

  /** A TPM2B around a structure that `write` appends. */
  sizedBy(write: (writer: this) => void): this {
    const at = this.take(2);
    write(this);
    this.view.setUint16(at, this.length - at - 2);
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** As {@link finish}, and overwrites what this writer holds. */
  finishAndWipe(): Uint8Array {
    const result = this.finish();
    this.bytes.fill(0);
    this.length = 0;
    return result;
  }
}

/** Reads from bytes that came from outside. Slices are views into them, not copies. */
export class Reader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    // Never a Buffer, whose slice() is no copy.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  private take(count: number): number {
    if (count > this.left)
      throw new SyntaxError(`cut short: ${count} bytes are wanted and ${this.left} left`);
    const at = this.at;
    this.at += count;
    return at;
  }

  u8(): number {
    return this.view.getUint8(this.take(1));
  }

  u16(): number {
    return this.view.getUint16(this.take(2));
  }

  u32(): number {
    return this.view.getUint32(this.take(4));
  }

  u64(): bigint {
    return this.view.getBigUint64(this.take(8));
  }

  raw(count: number): Uint8Array {
    const at = this.take(count);
    return this.bytes.subarray(at, at + count);
  }

  /** The bytes of a TPM2B, at most `max` of them. */
  sized(max = 0xffff): Uint8Array {
    const size = this.u16();
    if (size > max) throw new SyntaxError(`a sized buffer of ${size} bytes where at most ${max} may be`);
    return this.raw(size);
  }

  /** What `read` makes of the bytes of a TPM2B, which must be all of them. */
  sizedBy<T>(read: (reader: Reader) => T): T {
    return decodeAll(this.sized(), read);
  }

  /** All that is left. */
  rest(): Uint8Array {
    return this.raw(this.left);
  }

  /** @throws SyntaxError when anything is left */
  end(): void {
    if (this.left > 0) throw new SyntaxError(`${this.left} bytes too many`);
  }
}

/** What `read` makes of bytes that must be used up. @throws SyntaxError when they do not fit exactly */
export function decodeAll<T>(bytes: Uint8Array, read: (reader: Reader) => T): T {
  const reader = new Reader(bytes);
  const value = read(reader);
  reader.end();
  return value;
}

/** The bytes that `write` appends to an empty writer. */
export function encode(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer();
  write(writer);
  return writer.finish();
}
