// YAML 1.2 that a person wrote, into a checked value. Every problem is reported at once, with the line and column
// of the field to mend; what two readers could understand differently (duplicate keys, merge keys, aliases) is one.
import { type Document, isCollection, LineCounter, parseDocument } from "yaml";
import type { ErrorCode } from "../errors/catalogue.ts";
import { MosError } from "../errors/mos-error.ts";
import { formatProblem } from "./install-json.ts";
import type { Problem } from "./problem.ts";

/** What a check makes of the plain value. */
type Checked<T> = { readonly value: T } | { readonly problems: readonly Problem[] };

/** Offset in the text of the field a path names, or of the nearest one around it that is there. */
function offsetOf(document: Document, path: readonly (string | number)[]): number {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = document.getIn(path.slice(0, depth - 1), true);
    if (!isCollection(parent)) continue;
    for (const [index, item] of parent.items.entries()) {
      const isPair = typeof item === "object" && item !== null && "key" in item;
      const name = isPair ? scalarOf(item.key) : index;
      if (String(name) !== String(path[depth - 1])) continue;
      return startOf(isPair ? item.key : item);
    }
  }
  return 0;
}

function scalarOf(node: unknown): unknown {
  return typeof node === "object" && node !== null && "value" in node ? node.value : node;
}

function startOf(node: unknown): number {
  if (typeof node !== "object" || node === null || !("range" in node) || !Array.isArray(node.range)) return 0;
  return typeof node.range[0] === "number" ? node.range[0] : 0;
}

/** A checked value, and where each of its fields stands. */
export interface LocatedYaml<T> {
  readonly value: T;
  /** Line and column, from 1, of a field or of the nearest one around it that is there. */
  readonly at: (path: readonly (string | number)[]) => { readonly line: number; readonly column: number };
}

/** As {@link locateYaml}, where nobody asks where something stands. */
export function parseYaml<T>(...args: Parameters<typeof locateYaml<T>>): T {
  return locateYaml(...args).value;
}

/**
 * Parses a document and checks it.
 * @param file names the text in errors
 * @param code of the error
 * @throws MosError `code` with every problem as `FILE:LINE:COLUMN: field: message`
 */
export function locateYaml<T>(
  text: string,
  file: string,
  code: ErrorCode,
  check: (plain: unknown) => Checked<T>,
): LocatedYaml<T> {
  const invalid = (problems: readonly string[]): MosError => {
    const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
    return new MosError(code, `${file} has ${count}`, { about: file, problems });
  };
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: "1.2",
    uniqueKeys: true,
    merge: false,
  });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const broken = [...document.errors, ...document.warnings];
  if (broken.length > 0) throw invalid(broken.map((e) => `${at(e.pos[0])}: ${e.message.split("\n")[0]}`));
  let plain: unknown;
  try {
    plain = document.toJS({ maxAliasCount: 0 });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid([`${file}: aliases are not allowed: ${why}`]);
  }
  const checked = check(plain);
  if ("value" in checked) {
    const located = (path: readonly (string | number)[]) => {
      const { line, col } = lines.linePos(offsetOf(document, path));
      return { line, column: col };
    };
    return { value: checked.value, at: located };
  }
  const located = checked.problems
    .map((problem) => ({ offset: offsetOf(document, problem.path), problem }))
    .sort((a, b) => a.offset - b.offset);
  throw invalid(located.map(({ offset, problem }) => `${at(offset)}: ${formatProblem(problem)}`));
}
