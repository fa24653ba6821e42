// manifest.yaml: YAML 1.2 text into a checked ImportManifest. Every problem is reported at once, with the line
// and column of the field to mend.
import { type Document, isCollection, LineCounter, parseDocument } from "yaml";
import { MosError } from "../errors/mos-error.ts";
import { formatProblem, problemsOf } from "./install-json.ts";
import type { Problem } from "./problem.ts";
import { checkRules } from "./rules.ts";
import { type ImportManifest, importManifestSchema } from "./schema.ts";

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

/**
 * Parses and checks the text of a manifest.
 * @param file names the text in errors
 * @throws MosError `manifest-invalid` with every problem as `FILE:LINE:COLUMN: field: message`
 */
export function parseManifestYaml(text: string, file: string): ImportManifest {
  return locateManifestYaml(text, file).manifest;
}

/** A manifest, and where each of its fields stands. */
export interface LocatedManifest {
  readonly manifest: ImportManifest;
  /** Line and column, from 1, of a field or of the nearest one around it that is there. */
  readonly at: (path: readonly (string | number)[]) => { readonly line: number; readonly column: number };
}

/**
 * As {@link parseManifestYaml}, for those who have more to say about its fields.
 * @throws MosError `manifest-invalid`
 */
export function locateManifestYaml(text: string, file: string): LocatedManifest {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: "1.2",
    uniqueKeys: true,
    merge: false,
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const broken = [...document.errors, ...document.warnings].map(
    (e) => `${at(e.pos[0])}: ${e.message.split("\n")[0]}`,
  );
  if (broken.length > 0) throw invalid(file, broken);

  const result = importManifestSchema.safeParse(toPlain(document, file));
  const problems = result.success ? checkRules(result.data) : problemsOf(result.error);
  if (result.success && problems.length === 0) {
    return {
      manifest: result.data,
      at: (path) => {
        const { line, col } = lines.linePos(offsetOf(document, path));
        return { line, column: col };
      },
    };
  }
  const located = problems
    .map((problem: Problem) => ({ offset: offsetOf(document, problem.path), problem }))
    .sort((a, b) => a.offset - b.offset);
  throw invalid(
    file,
    located.map(({ offset, problem }) => `${at(offset)}: ${formatProblem(problem)}`),
  );
}

function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 0 });
  } catch (error) {
    throw invalid(file, [
      `${file}: aliases are not allowed: ${error instanceof Error ? error.message : String(error)}`,
    ]);
  }
}

function invalid(file: string, problems: readonly string[]): MosError {
  const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  return new MosError("manifest-invalid", `${file} has ${count}`, { about: file, problems });
}
