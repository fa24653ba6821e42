// A compose file (the Compose Specification) as far as a manifest can say it; what it cannot say is named, key by key. Pure.
import { type Draft, noCounterpart } from "./compose-draft.ts";
import { processRules } from "./compose-process.ts";
import { resourceRules } from "./compose-resources.ts";
import { type Converted, type Fields, listOf, recordOf, textOf } from "./model.ts";

/** MiB of a volume, which compose does not say. */
const guessedSize = "1G";

const rules = { ...processRules, ...resourceRules };

/** What compose itself makes of `$` (Compose Specification, interpolation): nobody is there to set variables. */
function withoutVariables(value: unknown, variables: Set<string>): unknown {
  if (typeof value === "string")
    return value.replaceAll(/\$(\$|\{[^}]*\}|[A-Za-z_][A-Za-z0-9_]*)/g, (whole, what: string) => {
      if (what === "$") return "$";
      variables.add(whole);
      return whole;
    });
  if (Array.isArray(value)) return value.map((item) => withoutVariables(item, variables));
  const record = recordOf(value);
  if (record === undefined) return value;
  return Object.fromEntries(
    Object.entries(record).map(([key, of]) => [key, withoutVariables(of, variables)]),
  );
}

/** Names of the networks that a service is on (Compose Specification, networks). */
function networksOf({ networks }: Fields): readonly string[] {
  const record = recordOf(networks);
  const names =
    record === undefined ? listOf(networks).map((item) => textOf(item) ?? "") : Object.keys(record);
  return names.length === 0 ? ["default"] : names;
}

function isSimple({ network }: Fields): boolean {
  return recordOf(network)?.["type"] === "simple";
}

/** Services of compose find all others of their networks by name. */
function addHosts(drafts: readonly Draft[]): void {
  for (const { name, service, fields } of drafts) {
    if (!isSimple(fields)) continue;
    const own = networksOf(service);
    const hosts = drafts
      .filter((other) => other.name !== name && isSimple(other.fields))
      .filter((other) => networksOf(other.service).some((network) => own.includes(network)))
      .map((other) => other.name);
    if (hosts.length > 0) fields["network"] = { ...recordOf(fields["network"]), hosts };
  }
}

/** A volume belongs to one nsgroup, so services that share one are of the same: that of the first of them. */
function shareGroups(targets: readonly Fields[], label: string): unknown {
  const uses = ({ storage }: Fields) => listOf(storage).some((mount) => recordOf(mount)?.["label"] === label);
  const groups = targets.filter(uses).map(({ nsgroup }) => nsgroup);
  for (const target of targets) if (groups.includes(target["nsgroup"])) target["nsgroup"] = groups[0];
  return groups[0] ?? "";
}

function convertService(
  name: string,
  value: unknown,
  unmapped: string[],
  useVolume: (label: string) => void,
): Draft {
  const variables = new Set<string>();
  const service = recordOf(withoutVariables(value, variables)) ?? {};
  const draft: Draft = {
    ...{ name, service, useVolume },
    fields: { service_name: name, source: "", version: "1", nsgroup: name, network: { type: "simple" } },
    miss: (key, why) => unmapped.push(`services.${name}.${key}: ${why}`),
  };
  for (const [key, of] of Object.entries(service)) {
    const rule = Object.hasOwn(rules, key) ? rules[key] : undefined;
    if (rule === undefined) draft.miss(key, noCounterpart);
    else rule(of, draft);
  }
  for (const variable of variables)
    draft.miss(variable, "is a variable of whoever calls, and stands in the manifest as it is");
  if (draft.fields["source"] === "")
    draft.miss("image", "there is none: build it, or let source be rootfs:DIR");
  return draft;
}

/** Converts a parsed compose file. */
export function convertCompose(document: Fields): Converted {
  const unmapped: string[] = [];
  const used = new Set<string>();
  const drafts = Object.entries(recordOf(document["services"]) ?? {}).map(([name, value]) =>
    convertService(name, value, unmapped, (label) => used.add(label)),
  );
  addHosts(drafts);
  const targets = drafts.map(({ fields }) => fields);
  for (const key of Object.keys(document).filter(
    (one) => !["services", "volumes", "version", "name"].includes(one),
  ))
    unmapped.push(`${key}: ${noCounterpart}`);
  for (const [label, of] of Object.entries(recordOf(document["volumes"]) ?? {})) {
    for (const key of Object.keys(recordOf(of) ?? {}))
      unmapped.push(`volumes.${label}.${key}: ${noCounterpart}`);
    if (!used.has(label)) unmapped.push(`volumes.${label}: no service uses it`);
  }
  const storage = [...used].map((label): Fields => {
    unmapped.push(`volumes.${label}: compose says no size; ${guessedSize} is a guess`);
    return { label, persistent: true, nsgroup: "", size: guessedSize, enforce: true };
  });
  // Groups that one volume joins may be joined with others by the next one.
  for (const { label } of storage) shareGroups(targets, String(label));
  for (const volume of storage) volume["nsgroup"] = shareGroups(targets, String(volume["label"]));
  return { targets, storage, unmapped };
}
