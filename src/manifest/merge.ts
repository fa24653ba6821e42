// A complete manifest and the partial ones that were applied after it, as one: what each names replaces what had the
// name before, everything else stays (published system, update types). Pure.
import { MosError } from "../errors/mos-error.ts";
import { formatProblem } from "./install-json.ts";
import { checkRules } from "./rules.ts";
import type { InstallManifest } from "./schema.ts";

function replaceNamed<T>(before: readonly T[], after: readonly T[], nameOf: (item: T) => string): T[] {
  const byName = new Map(after.map((item) => [nameOf(item), item]));
  const names = new Set(before.map(nameOf));
  return [
    ...before.map((item) => byName.get(nameOf(item)) ?? item),
    ...after.filter((item) => !names.has(nameOf(item))),
  ];
}

function refuse(message: string, problems: readonly string[] = []): MosError {
  return new MosError("partial-refused", `cannot apply a partial manifest: ${message}`, {
    about: "install.json",
    problems,
  });
}

function epochOf({ release }: InstallManifest): number {
  return release?.epoch ?? 0;
}

/**
 * Which of the manifests still give the device something: the first always, because it is the complete one.
 * @param manifests in the order in which they were applied
 */
export function contributing(manifests: readonly InstallManifest[]): boolean[] {
  const taken = { targets: new Set<string>(), storage: new Set<string>() };
  const takes = (names: readonly string[], set: Set<string>): boolean => {
    const isNew = names.some((name) => !set.has(name));
    for (const name of names) set.add(name);
    return isNew;
  };
  return manifests
    .toReversed()
    .map((manifest) => {
      const targets = takes(
        manifest.targets.map(({ service_name }) => service_name),
        taken.targets,
      );
      const storage = takes(
        manifest.storage.map(({ label }) => label),
        taken.storage,
      );
      return targets || storage || manifest.update_type === "complete";
    })
    .toReversed();
}

/**
 * Merges manifests that are each valid.
 * @param manifests a complete one, then partial ones in the order in which they were applied
 * @throws MosError `partial-refused` when they do not go together
 */
export function mergeManifests(manifests: readonly [InstallManifest, ...InstallManifest[]]): InstallManifest {
  const [base, ...partials] = manifests;
  if (base.update_type !== "complete") throw refuse("there is no complete one below it");
  let merged = base;
  for (const partial of partials) {
    if (partial.update_type !== "partial") throw refuse("a complete one lies above it");
    if (partial.product !== base.product) {
      throw refuse(`it is for the product ${partial.product}, and what runs is for ${base.product}`);
    }
    if (epochOf(partial) !== epochOf(base)) {
      throw refuse(
        `it is of epoch ${epochOf(partial)} and what would stay beside it of epoch ${epochOf(base)}; a new epoch needs a complete one`,
      );
    }
    const release = partial.release ?? merged.release;
    const health = partial.health ?? merged.health;
    merged = {
      ...merged,
      targets: replaceNamed(merged.targets, partial.targets, ({ service_name }) => service_name),
      storage: replaceNamed(merged.storage, partial.storage, ({ label }) => label),
      ...(release === undefined ? {} : { release }),
      ...(health === undefined ? {} : { health }),
    };
  }
  if (partials.length === 0) return merged;
  const problems = checkRules(merged).map(formatProblem);
  if (problems.length === 0) return merged;
  throw refuse(`together with what stays it is not sound: ${problems[0]}`, problems);
}
