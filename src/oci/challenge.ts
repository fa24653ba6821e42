// The WWW-Authenticate header (RFC 9110 section 11.6.1): a strict parser of its challenges. Pure.

/** One challenge; the scheme and the parameters' names are in lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
/** RFC 9110 section 11.2: what may stand in place of parameters. */
const token68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
// Quoted text of RFC 9110 section 5.6.4, without obs-text: realms and scopes are ASCII.
const quoted = /"((?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*)"/y;
const space = /[ \t]*/y;
const maxHeader = 8192;

class Scanner {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  get done(): boolean {
    return this.at >= this.text.length;
  }

  get position(): number {
    return this.at;
  }

  back(position: number): void {
    this.at = position;
  }

  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.at += match[0].length;
    return match;
  }

  takeText(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  /** Empty list elements are allowed (RFC 9110 section 5.6.1). False when no comma is there. */
  commas(): boolean {
    let any = false;
    this.take(space);
    while (this.takeText(",")) {
      any = true;
      this.take(space);
    }
    return any;
  }
}

/** `name=value` with its `=`; undefined, with nothing taken, when it is not one; null when it is broken. */
function parameter(scanner: Scanner): readonly [string, string] | undefined | null {
  const start = scanner.position;
  const name = scanner.take(token);
  if (name === undefined) return null;
  scanner.take(space);
  if (!scanner.takeText("=")) {
    scanner.back(start);
    return undefined;
  }
  scanner.take(space);
  const text = scanner.take(quoted);
  if (text !== undefined) return [name[0].toLowerCase(), (text[1] ?? "").replace(/\\(.)/g, "$1")];
  const plain = scanner.take(token);
  return plain === undefined ? null : [name[0].toLowerCase(), plain[0]];
}

/** The parameters of one challenge, up to the next challenge or the end; undefined when they are broken. */
function parameters(scanner: Scanner): Map<string, string> | undefined {
  const found = new Map<string, string>();
  while (!scanner.done) {
    const start = scanner.position;
    const next = parameter(scanner);
    if (next === null) return undefined;
    if (next === undefined) {
      scanner.back(start);
      return found;
    }
    const [name, value] = next;
    if (found.has(name)) return undefined;
    found.set(name, value);
    if (!scanner.commas() && !scanner.done) return undefined;
  }
  return found;
}

/**
 * Parses a WWW-Authenticate header.
 * @returns its challenges in order; an empty list when the header is malformed anywhere: half-understood
 *   instructions about where to send credentials are not followed
 */
export function parseChallenges(header: string): readonly Challenge[] {
  if (header.length > maxHeader) return [];
  const scanner = new Scanner(header);
  const challenges: Challenge[] = [];
  scanner.commas();
  while (!scanner.done) {
    const scheme = scanner.take(token);
    if (scheme === undefined) return [];
    const name = scheme[0].toLowerCase();
    if (scanner.commas() || scanner.done) {
      challenges.push({ scheme: name, parameters: new Map() });
      continue;
    }
    if (scanner.take(token68) !== undefined) {
      challenges.push({ scheme: name, parameters: new Map() });
      if (!scanner.commas() && !scanner.done) return [];
      continue;
    }
    const found = parameters(scanner);
    if (found === undefined || found.size === 0) return [];
    challenges.push({ scheme: name, parameters: found });
  }
  return challenges;
}
