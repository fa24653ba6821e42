// Unit files as data, and the one place that turns them into text (systemd.syntax(7)). Values come from signed
// manifests and images, but are escaped as if they came from an enemy: no value can end its line, start a
// specifier, or expand a variable.
import { MosError } from "../errors/mos-error.ts";
import { unicodeEscape } from "../system/unicode-escape.ts";

/** Text that is already in unit-file syntax; only the functions below make it. */
export type UnitValue = string & { readonly __unitValue: true };

export type Entry = readonly [key: string, value: UnitValue];

export interface Section {
  readonly name: string;
  readonly entries: readonly Entry[];
}

function checked(text: string): UnitValue {
  // A line ends at a newline, and a backslash at its end would join it to the next one.
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text) || !text.isWellFormed() || text.endsWith("\\")) {
    throw new MosError("internal", `a unit value cannot hold ${JSON.stringify(text)}`);
  }
  return text as UnitValue;
}

/** A value as it stands, for text that mos wrote itself; specifiers in it are meant. */
export function raw(text: string): UnitValue {
  return checked(text);
}

/** Free text such as a description: `%` is doubled so that it is no specifier. */
export function literal(text: string): UnitValue {
  return checked(text.replaceAll("%", "%%"));
}

/** One word in double quotes with C escapes, `%` doubled (systemd.syntax(7), "Quoting"). */
function quote(text: string): string {
  let out = "";
  for (const char of text) {
    if (char === "\0")
      throw new MosError("image-unusable", "a value with a NUL character cannot be passed to a service");
    if (char === "\\" || char === '"') out += `\\${char}`;
    else if (char === "\n") out += "\\n";
    else if (char === "\t") out += "\\t";
    else if (/\p{Cc}/u.test(char) && char.length === 1 && char.charCodeAt(0) < 0x80) {
      out += `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
    } else if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(char)) out += unicodeEscape(char);
    else out += char === "%" ? "%%" : char;
  }
  return `"${out}"`;
}

const bareWord = /^[A-Za-z0-9_./:=,@+-]+$/;

function bareOrQuoted(text: string): string {
  return bareWord.test(text) ? text : quote(text);
}

/** Words of a setting that takes a list, quoted where needed. */
export function words(...items: readonly string[]): UnitValue {
  return checked(items.map(bareOrQuoted).join(" "));
}

/**
 * A list of unit names. systemd takes their backslashes as they are (it escapes `-` in mount units as `\\x2d`), so
 * they are not quoted; their alphabet has nothing to quote.
 */
export function unitNames(...names: readonly string[]): UnitValue {
  const odd = names.find((name) => !/^[A-Za-z0-9:_.@\\-]+$/.test(name));
  if (odd !== undefined) throw new MosError("internal", `not a unit name: ${JSON.stringify(odd)}`);
  return checked(names.join(" "));
}

/** An ExecStart= line: as words, and `$` doubled so that no variable is expanded. */
export function command(...argv: readonly string[]): UnitValue {
  return checked(argv.map((arg) => bareOrQuoted(arg).replaceAll("$", "$$$$")).join(" "));
}

/** One quoted assignment that quadlet will put on podman's command line: `$` doubled as well. */
export function quadletWord(text: string): UnitValue {
  return checked(bareOrQuoted(text).replaceAll("$", "$$$$"));
}

/** A value that quadlet passes on whole (it quotes it itself): `%` and `$` doubled. */
export function quadletLiteral(text: string): UnitValue {
  return checked(text.replaceAll("%", "%%").replaceAll("$", "$$$$"));
}

/** What `quadletLiteral` and `raw` give, as one word of a command line: quoted here, for nobody else does. */
export function wholeWord(value: UnitValue): UnitValue {
  return checked(bareWord.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`);
}

/** The text of a unit file. */
export function formatUnit(sections: readonly Section[]): string {
  return sections
    .filter(({ entries }) => entries.length > 0)
    .map(({ name, entries }) => `[${name}]\n${entries.map(([key, value]) => `${key}=${value}\n`).join("")}`)
    .join("\n");
}
