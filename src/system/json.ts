// JSON from outside (RFC 8259), stricter than JSON.parse: no duplicate keys, no `__proto__`, no lone
// surrogates, no numbers that JavaScript cannot hold exactly, bounded depth. What two readers could
// understand differently is refused, because a signature says nothing about which reading was meant.
import { MosError } from "../errors/mos-error.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const maxDepth = 64;

class Reader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  document(): Json {
    const value = this.value(0);
    this.space();
    if (this.at !== this.text.length) this.fail("text after the end of the document");
    return value;
  }

  private fail(why: string): never {
    throw new SyntaxError(`${why} at character ${this.at}`);
  }

  private space(): void {
    for (;;) {
      const c = this.text.charCodeAt(this.at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.at++;
    }
  }

  private value(depth: number): Json {
    if (depth > maxDepth) this.fail(`nested deeper than ${maxDepth} levels`);
    this.space();
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  private word<T extends Json>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) this.fail("unexpected text");
    this.at += word.length;
    return value;
  }

  private number(): number {
    const pattern = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match === null) this.fail("unexpected text");
    const value = Number(match[0]);
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
      this.fail("a number that cannot be held exactly");
    }
    this.at += match[0].length;
    return value;
  }

  private string(): string {
    const start = this.at++;
    for (;;) {
      const c = this.text.charCodeAt(this.at);
      if (!(c >= 0x20)) this.fail("a string that is not well-formed");
      this.at++;
      if (c === 0x22) break;
      if (c === 0x5c) this.at++;
    }
    const value = this.unescape(start);
    if (!value.isWellFormed()) this.fail("a string that is not Unicode text");
    return value;
  }

  private unescape(start: number): string {
    try {
      return String(JSON.parse(this.text.slice(start, this.at)));
    } catch {
      this.fail("a string that is not well-formed");
    }
  }

  private array(depth: number): Json[] {
    const items: Json[] = [];
    this.at++;
    this.space();
    if (this.text[this.at] === "]") {
      this.at++;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      const c = this.text[this.at];
      this.at++;
      if (c === "]") return items;
      if (c !== ",") {
        this.at--;
        this.fail("expected ',' or ']'");
      }
    }
  }

  private object(depth: number): { [key: string]: Json } {
    const members: { [key: string]: Json } = {};
    this.at++;
    this.space();
    if (this.text[this.at] === "}") {
      this.at++;
      return members;
    }
    for (;;) {
      this.space();
      if (this.text[this.at] !== '"') this.fail("expected a key");
      const key = this.string();
      if (key === "__proto__") this.fail("the key __proto__");
      if (Object.hasOwn(members, key)) this.fail(`the key ${JSON.stringify(key)} twice`);
      this.space();
      if (this.text[this.at] !== ":") this.fail("expected ':'");
      this.at++;
      members[key] = this.value(depth + 1);
      this.space();
      const c = this.text[this.at];
      this.at++;
      if (c === "}") return members;
      if (c !== ",") {
        this.at--;
        this.fail("expected ',' or '}'");
      }
    }
  }
}

/**
 * Parses JSON bytes strictly (see the head of this file).
 * @param what names the document in the error, for example `install.json`
 * @throws MosError `document-invalid`
 */
export function parseJson(bytes: Uint8Array, what: string): Json {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return new Reader(text).document();
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : "not UTF-8 text";
    throw new MosError("document-invalid", `${what} is not strict JSON: ${why}`, {
      about: what,
      cause: error,
    });
  }
}
