// A strict reader of DER (ITU-T X.690 sections 8, 10 and 11): every length definite and minimal, nothing after
// the end, bounded depth and size. What BER allows besides is refused, because two readers could disagree on it
// and a signature says nothing about which of them was right. Errors are SyntaxErrors; callers give them a code.

/** Identifier octets (X.690 8.1.2): class and constructed bit included. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** One element; `children` is there exactly when the constructed bit is set. */
export interface DerElement {
  readonly tag: number;
  /** The whole encoding: identifier, length and content. */
  readonly raw: Uint8Array;
  readonly content: Uint8Array;
  readonly children: readonly DerElement[] | undefined;
}

/** More than any certificate needs. */
const usualDepth = 16;
const maxElements = 4096;
const constructedBit = 0x20;
const universal = (tag: number): boolean => (tag & 0xc0) === 0;

class Reader {
  private readonly bytes: Uint8Array;
  private readonly maxDepth: number;
  private elements = 0;

  constructor(bytes: Uint8Array, maxDepth: number) {
    this.bytes = bytes;
    this.maxDepth = maxDepth;
  }

  private byte(at: number): number {
    const value = this.bytes[at];
    if (value === undefined) throw new SyntaxError(`DER ends early, at byte ${at}`);
    return value;
  }

  /** Elements that fill the range exactly. */
  sequence(from: number, to: number, depth: number): DerElement[] {
    const found: DerElement[] = [];
    let at = from;
    while (at < to) {
      const element = this.element(at, to, depth);
      found.push(element);
      at += element.raw.length;
    }
    return found;
  }

  private element(start: number, limit: number, depth: number): DerElement {
    if (depth > this.maxDepth) throw new SyntaxError(`DER is nested deeper than ${this.maxDepth} levels`);
    if (++this.elements > maxElements) throw new SyntaxError(`DER has more than ${maxElements} elements`);
    const tag = this.byte(start);
    if ((tag & 0x1f) === 0x1f) throw new SyntaxError(`DER has a multi-byte tag at byte ${start}`);
    const { length, at } = this.length(start + 1);
    const end = at + length;
    if (end > limit) throw new SyntaxError(`DER element at byte ${start} is longer than what holds it`);
    const constructed = (tag & constructedBit) !== 0;
    // X.690 10.2 and 8.9-8.12: of the universal types only SEQUENCE and SET are constructed, and always.
    const holds = tag === tags.sequence || tag === tags.set;
    if (universal(tag) && (constructed !== holds || (!constructed && (tag === 0x10 || tag === 0x11)))) {
      throw new SyntaxError(`DER has the wrong form of a universal type at byte ${start}`);
    }
    return {
      tag,
      raw: this.bytes.subarray(start, end),
      content: this.bytes.subarray(at, end),
      children: constructed ? this.sequence(at, end, depth + 1) : undefined,
    };
  }

  /** X.690 10.1: the definite form, in the fewest octets. */
  private length(start: number): { length: number; at: number } {
    const first = this.byte(start);
    if (first < 0x80) return { length: first, at: start + 1 };
    const count = first & 0x7f;
    if (count === 0 || count > 4)
      throw new SyntaxError(`DER length at byte ${start} is indefinite or too big`);
    let length = 0;
    for (let i = 1; i <= count; i++) length = length * 256 + this.byte(start + i);
    if (length < 0x80 || length < 256 ** (count - 1)) {
      throw new SyntaxError(`DER length at byte ${start} is not minimal`);
    }
    return { length, at: start + 1 + count };
  }
}

/**
 * Reads the one element that the bytes are, with everything inside it.
 * @param maxDepth how many levels of elements within elements are taken
 * @throws SyntaxError when the bytes are not exactly one DER element
 */
export function readDer(bytes: Uint8Array, maxDepth: number = usualDepth): DerElement {
  const found = new Reader(bytes, maxDepth).sequence(0, bytes.length, 0);
  const [element] = found;
  if (element === undefined) throw new SyntaxError("DER is empty");
  if (found.length > 1) throw new SyntaxError(`DER has bytes after its end, at byte ${element.raw.length}`);
  return element;
}

/** Takes the children of one element in order, by tag; `end` refuses what is left over. */
export class DerFields {
  private readonly children: readonly DerElement[];
  private readonly what: string;
  private at = 0;

  /** @throws SyntaxError when the element is missing or of another type */
  constructor(element: DerElement | undefined, tag: number, what: string) {
    if (element?.tag !== tag || element.children === undefined) {
      throw new SyntaxError(`${what} is not of the right type`);
    }
    this.children = element.children;
    this.what = what;
  }

  /** The next child when it has this tag; undefined, and nothing taken, otherwise. */
  optional(tag: number): DerElement | undefined {
    const child = this.children[this.at];
    if (child?.tag !== tag) return undefined;
    this.at++;
    return child;
  }

  /** @throws SyntaxError when the next child has another tag or there is none */
  take(tag: number, name: string): DerElement {
    const child = this.optional(tag);
    if (child === undefined) throw new SyntaxError(`${this.what} has no ${name} where it belongs`);
    return child;
  }

  /** The next child, whatever it is; undefined at the end. */
  any(): DerElement | undefined {
    const child = this.children[this.at];
    if (child !== undefined) this.at++;
    return child;
  }

  /** @throws SyntaxError when children are left */
  end(): void {
    if (this.at !== this.children.length) throw new SyntaxError(`${this.what} has something left over`);
  }
}
