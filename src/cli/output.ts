// What commands print: a JSON document for machines, or tables and key-value blocks for people. Text that came
// from outside goes through `escapeControls`, which tables and blocks do for each of their cells.
import type { OutputStream } from "./terminal.ts";

/** Control and format characters, which could move the cursor, reverse the line or hide text. */
const invisible = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu;

/** Shows what cannot be seen as `\n`, `\x1b`, `\u{202e}`; the rest of the text is left as it is. */
export function escapeControls(text: string): string {
  return text.replace(invisible, (character) => {
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    if (character === "\r") return "\\r";
    const code = character.codePointAt(0) ?? 0;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

// SGR parameters of ECMA-48 section 8.3.117: how to begin and how to end each look.
const looks = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
} as const;
export type Look = keyof typeof looks;

/** Puts a look on text, or leaves it plain where there is no colour. */
export function paint(stream: Pick<OutputStream, "hasColor">, look: Look, text: string): string {
  const [on, off] = looks[look];
  return stream.hasColor ? `\x1b[${on}m${text}\x1b[${off}m` : text;
}

/** Text of a cell, or text with a look. */
export type Cell = string | { readonly text: string; readonly look: Look };

/** Code points, as near to columns as is worth while; wide characters are rare in what mos prints. */
function widthOf(text: string): number {
  return [...text].length;
}

function plain(cell: Cell): string {
  return escapeControls(typeof cell === "string" ? cell : cell.text);
}

function show(stream: OutputStream, cell: Cell, width: number): string {
  const text = plain(cell);
  const painted = typeof cell === "string" ? text : paint(stream, cell.look, text);
  return painted + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** Aligned columns under bold headings; one line per row, each ending in a newline. */
export function table(
  stream: OutputStream,
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const widths = headings.map((heading, column) =>
    Math.max(widthOf(heading), ...rows.map((row) => widthOf(plain(row[column] ?? "")))),
  );
  const line = (cells: readonly Cell[]): string =>
    `${cells.map((cell, column) => show(stream, cell, column === cells.length - 1 ? 0 : (widths[column] ?? 0))).join("  ")}`.trimEnd();
  const head = line(headings.map((text) => ({ text, look: "bold" as const })));
  return [head, ...rows.map(line)].map((text) => `${text}\n`).join("");
}

/** One `key  value` per line, values aligned; undefined values are left out. */
export function keyValues(
  stream: OutputStream,
  pairs: readonly (readonly [key: string, value: Cell | undefined])[],
): string {
  const width = Math.max(0, ...pairs.map(([key, value]) => (value === undefined ? 0 : widthOf(key))));
  return pairs
    .flatMap(([key, value]) =>
      value === undefined
        ? []
        : [`${show(stream, { text: key, look: "dim" }, width)}  ${show(stream, value, 0)}\n`],
    )
    .join("");
}

/** A JSON document as commands print it: two spaces, a newline at the end. */
export function jsonText(document: unknown): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}
