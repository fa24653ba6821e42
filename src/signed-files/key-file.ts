// The dialect of .ini files that GLib calls a key file, as far as configurations of validator use it: groups, keys,
// strings, lists and booleans. Pure. What GLib takes is taken, and what it refuses is refused in its words; what of it
// is probably a mistake is told apart in `doubts`, for those who want to be strict.

/** Bytes as text, one character each; values are decoded when they are asked for. */
type Line = string;

/** A parsed key file. */
export interface KeyFile {
  /** By group and key; of what was there twice the last. */
  readonly groups: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** What GLib takes without a word and nobody means. */
  readonly doubts: readonly string[];
}

/** What could not be understood, in GLib's words. */
export type Parsed<T> = { readonly value: T } | { readonly error: string };

// g_ascii_isspace: no vertical tab.
const leading = /^[ \t\n\f\r]+/;
const trailing = /[ \t\n\f\r]+$/;

function decoded(line: Line): string {
  return Buffer.from(line, "latin1").toString("utf8");
}

function isUtf8(line: Line): boolean {
  return Buffer.from(decoded(line)).equals(Buffer.from(line, "latin1"));
}

function groupOf(line: Line): Parsed<string> | undefined {
  // Blanks may follow the first bracket that closes, and nothing else.
  if (!/^\[[^\]]*\][ \t]*$/.test(line)) return undefined;
  const name = line.slice(1, line.lastIndexOf("]"));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  if (name === "" || /[[\x00-\x1f\x7f]/.test(name)) return { error: `Invalid group name: ${decoded(name)}` };
  return { value: name };
}

/** A key, and the language in brackets that may follow it. */
function isKey(key: string): boolean {
  const [, base = "", language] = /^([^=[\]]*)(?:\[([^\]]*)\])?$/.exec(key) ?? [];
  if (base === "" || base.startsWith(" ") || base.endsWith(" ")) return false;
  return language === undefined || /^[\p{L}\p{N}\-_.@]*$/u.test(decoded(language));
}

/** A key file while it is read. */
class Reading {
  readonly groups = new Map<string, Map<string, string>>();
  readonly doubts: string[] = [];
  private group: Map<string, string> | undefined;
  private name = "";
  private start: string | undefined;

  /** @returns what is wrong */
  header(line: Line): string | undefined {
    const header = groupOf(line);
    if (header === undefined) return this.pair(line);
    if ("error" in header) return header.error;
    this.name = header.value;
    this.start ??= this.name;
    const before = this.groups.get(this.name);
    if (before !== undefined) this.doubts.push(`group [${decoded(this.name)}] is there twice`);
    this.group = before ?? new Map<string, string>();
    this.groups.set(this.name, this.group);
    return undefined;
  }

  /** @returns what is wrong */
  pair(line: Line): string | undefined {
    const equals = line.indexOf("=");
    if (equals <= 0) {
      return `Key file contains line “${decoded(line)}” which is not a key-value pair, group, or comment`;
    }
    if (this.group === undefined) return "Key file does not start with a group";
    const key = line.slice(0, equals).replace(trailing, "");
    if (!isKey(key)) return `Invalid key name: ${decoded(key)}`;
    const value = line.slice(equals + 1).replace(leading, "");
    if (key === "Encoding" && this.name === this.start && value.toUpperCase() !== "UTF-8") {
      return `Key file contains unsupported encoding “${decoded(value)}”`;
    }
    this.doubt(this.group, key, value);
    this.group.set(key, value);
    return undefined;
  }

  private doubt(group: ReadonlyMap<string, string>, key: string, value: string): void {
    const whose = `value of ${decoded(key)}`;
    if (group.has(key)) this.doubts.push(`key ${decoded(key)} is there twice`);
    if (trailing.test(value)) this.doubts.push(`${whose} ends in a blank, which is part of it`);
    if (/[ \t]#/.test(value)) this.doubts.push(`${whose} has a “#”, which begins no comment there`);
  }
}

/**
 * Reads a key file.
 * @param bytes as they lie on the disk; lines end in LF or CR LF
 */
export function parseKeyFile(bytes: Uint8Array): Parsed<KeyFile> {
  const reading = new Reading();
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  if (text.includes("\0")) return { error: "Key file contains a NUL character" };
  // A CR belongs to the end of a line only where a LF follows.
  for (const raw of text.replaceAll("\r\n", "\n").split("\n")) {
    const line = raw.replace(leading, "");
    if (line === "" || line.startsWith("#")) continue;
    const error = line.startsWith("[") ? reading.header(line) : reading.pair(line);
    if (error !== undefined) return { error };
  }
  const { groups, doubts } = reading;
  return { value: { groups, doubts } };
}

/** The text of a key as it was written. */
export function rawValue(file: KeyFile, group: string, key: string): Parsed<string> {
  const keys = file.groups.get(group);
  if (keys === undefined) return { error: `Key file does not have group “${group}”` };
  const value = keys.get(key);
  if (value === undefined) return { error: `Key file does not have key “${key}” in group “${group}”` };
  if (isUtf8(value)) return { value };
  return { error: `Key file contains key “${key}” with value “${decoded(value)}” which is not UTF-8` };
}

const escapes: Readonly<Record<string, string>> = { s: " ", n: "\n", t: "\t", r: "\r", "\\": "\\" };

/** Undoes the escapes; `;` parts a list, and is escaped as `\;` in one. */
function unescaped(value: string, isList: boolean): string[] | undefined {
  const parts: string[] = [];
  let part = "";
  for (let i = 0; i < value.length; i++) {
    const character = value[i] ?? "";
    if (character === "\\") {
      const next = value[++i] ?? "";
      const meant = isList && next === ";" ? ";" : escapes[next];
      if (meant === undefined) return undefined;
      part += meant;
    } else if (isList && character === ";") {
      parts.push(part);
      part = "";
    } else {
      part += character;
    }
  }
  // A list may end in `;` or not: an empty part at the end is none.
  return part === "" && isList ? parts : [...parts, part];
}

function uninterpreted(group: string, key: string): { readonly error: string } {
  return {
    error: `Key file contains key “${key}” in group “${group}” which has a value that cannot be interpreted.`,
  };
}

/** The text of a key with its escapes undone. */
export function stringValue(file: KeyFile, group: string, key: string): Parsed<string> {
  const raw = rawValue(file, group, key);
  if ("error" in raw) return raw;
  const [value] = unescaped(raw.value, false) ?? [];
  return value === undefined ? uninterpreted(group, key) : { value };
}

/** The parts of a list, each with its escapes undone; blanks around `;` belong to them. */
export function listValue(file: KeyFile, group: string, key: string): Parsed<readonly string[]> {
  const raw = rawValue(file, group, key);
  if ("error" in raw) return raw;
  const value = unescaped(raw.value, true);
  return value === undefined ? uninterpreted(group, key) : { value };
}

/** `true`, `1`, `false` or `0`; blanks may follow. */
export function booleanValue(file: KeyFile, group: string, key: string): Parsed<boolean> {
  const raw = rawValue(file, group, key);
  if ("error" in raw) return raw;
  const text = raw.value.replace(trailing, "");
  if (text === "true" || text === "1") return { value: true };
  if (text === "false" || text === "0") return { value: false };
  return uninterpreted(group, key);
}
