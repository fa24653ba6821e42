// For people who write YAML: which field an unknown one was probably meant to be. Not for devices, which are told what
// is wrong and need no advice.
import type * as z from "zod";
import type { Problem } from "./problem.ts";

type Schema = z.core.$ZodType;
type Part = string | number;

/** What a schema becomes one step further down; none where nothing is known. */
function below(schema: Schema, part: Part): Schema[] {
  return objectsOf(schema).flatMap((one) => {
    const { def } = (one as z.core.$ZodTypes)._zod;
    if (def.type === "object") return def.shape[part] === undefined ? [] : [def.shape[part]];
    if (def.type === "array") return [def.element];
    if (def.type === "record") return [def.valueType];
    return [];
  });
}

/** What is behind `optional`, `default`, transformations and alternatives. */
function objectsOf(schema: Schema): Schema[] {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "optional":
    case "nullable":
    case "default":
    case "prefault":
    case "readonly":
      return objectsOf(def.innerType);
    case "pipe":
      return objectsOf(def.in);
    case "union":
      return def.options.flatMap(objectsOf);
    default:
      return [schema];
  }
}

function keysAt(schema: Schema, path: readonly Part[]): string[] {
  let found: Schema[] = [schema];
  for (const part of path) found = found.flatMap((one) => below(one, part));
  return found.flatMap(objectsOf).flatMap((one) => {
    const { def } = (one as z.core.$ZodTypes)._zod;
    return def.type === "object" ? Object.keys(def.shape) : [];
  });
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, one] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (one === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Two letters may have changed places, which is a distance of two; of a long name a third may be wrong. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll(/[_-]/g, "");
  const scored = known.map((name) => ({ name, score: distance(plain(key), plain(name)) }));
  const [best] = scored.toSorted((a, b) => a.score - b.score);
  const most = key.length < 4 ? 1 : Math.max(2, key.length / 3);
  return best !== undefined && best.score <= most ? best.name : undefined;
}

/** The same problems; where a key is unknown and one like it is known, with that one's name. */
export function withSuggestions(schema: Schema, problems: readonly Problem[]): Problem[] {
  return problems.map((problem) => {
    const key = problem.path.at(-1);
    if (problem.message !== "unknown key" || typeof key !== "string") return problem;
    const meant = nearest(key, keysAt(schema, problem.path.slice(0, -1)));
    return meant === undefined ? problem : { ...problem, message: `unknown key; did you mean ${meant}?` };
  });
}
