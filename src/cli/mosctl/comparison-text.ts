// What differs between two manifests, as lines for a person; `mosctl diff` and `mosctl update --dry-run` show the same.
import type { FieldChange, ManifestComparison } from "../../generation/manifest-diff.ts";
import { escapeControls, type Look, paint } from "../output.ts";
import type { OutputStream } from "../terminal.ts";

/** `field: before → after`. */
export function changeText({ field, before, after }: FieldChange): string {
  return `${field}: ${before ?? "none"} → ${after ?? "none"}`;
}

/** What is said beside a service that is new, different, gone, or the same. */
interface Words {
  readonly added: string;
  readonly changed: string;
  readonly removed: string;
  readonly kept: string;
}

/** One line each, fields of what changed below it. */
export function comparisonText(stdout: OutputStream, comparison: ManifestComparison, words: Words): string {
  const line = (look: Look, sign: string, name: string, more = "") =>
    `${paint(stdout, look, `${sign} ${escapeControls(name)}`)}${more === "" ? "" : `  ${more}`}`;
  const below = (fields: readonly FieldChange[]) =>
    fields.map((field) => `    ${escapeControls(changeText(field))}`);
  const { volumes } = comparison;
  return [
    ...comparison.added.map((name) => line("green", "+", name, words.added)),
    ...comparison.changed.flatMap(({ service, fields }) => [
      line("yellow", "~", service, words.changed),
      ...below(fields),
    ]),
    ...comparison.removed.map((name) => line("red", "-", name, words.removed)),
    ...comparison.kept.map((name) => line("dim", "=", name, words.kept)),
    ...volumes.added.map((name) => line("green", "+", `volume ${name}`)),
    ...volumes.changed.flatMap(({ volume, fields }) => [
      line("yellow", "~", `volume ${volume}`),
      ...below(fields),
    ]),
    ...volumes.removed.map((name) => line("red", "-", `volume ${name}`, "is not used any more")),
  ]
    .map((text) => `${text}\n`)
    .join("");
}
