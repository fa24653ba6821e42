// Configurations of `validator install`: key files with one group, [install] (validator-config of 0.2.2).
import type { KeyObject } from "node:crypto";
import { type ByteText, below, canonicalPrefix, fromText, toText } from "./byte-path.ts";
import { absolute, type Run } from "./engine.ts";
import { installFiles } from "./install.ts";
import type { InstallOptions } from "./install-list.ts";
import { booleanValue, type KeyFile, listValue, parseKeyFile, rawValue, stringValue } from "./key-file.ts";
import { loadPublicKeys } from "./keys.ts";
import { kindBehind, namesIn, readWhole } from "./read-files.ts";
import { reasonOf } from "./report.ts";

const group = "install";
const known = new Set([
  "destination",
  "sources",
  "keys",
  "key_dirs",
  "recursive",
  "force",
  "path_relative",
  "path_prefix",
]);
/** A configuration (bytes). */
const maxConfig = 1024 * 1024;

/** What one configuration asks for. */
interface Config {
  readonly install: InstallOptions;
  readonly keys: readonly ByteText[];
  readonly keyDirectories: readonly ByteText[];
}

function problem({ report }: Run, message: string): undefined {
  report.problem("signed-config-invalid", message);
}

/** Keys and groups that mean nothing, and values that mean something else than they look like. */
function doubtsOf({ groups, doubts }: KeyFile): readonly string[] {
  const strange = [...groups].flatMap(([name, keys]) =>
    name !== group
      ? [`group [${name}] means nothing`]
      : [...keys.keys()].filter((key) => !known.has(key)).map((key) => `key ${key} means nothing`),
  );
  return [...doubts, ...strange];
}

function parsedConfig(run: Run, name: string, file: KeyFile): Config | undefined {
  const failed = (what: string, { error }: { readonly error: string }): undefined =>
    problem(run, `Can't get ${what} from config file '${name}': ${error}`);
  const unparsed = (key: string, { error }: { readonly error: string }): undefined =>
    problem(run, `Can't parse ${key} option from config file '${name}': ${error}`);
  if (run.strict) {
    const doubts = doubtsOf(file);
    for (const doubt of doubts) problem(run, `In config file '${name}' ${doubt}`);
    if (doubts.length > 0) return undefined;
  }
  const destination = stringValue(file, group, "destination");
  if ("error" in destination) return failed("destination", destination);
  if (destination.value === "") return failed("destination", { error: "it is empty" });
  const sources = listValue(file, group, "sources");
  if ("error" in sources) return failed("sources", sources);
  const lists: Record<"keys" | "key_dirs", readonly ByteText[]> = { keys: [], key_dirs: [] };
  for (const key of ["keys", "key_dirs"] as const) {
    if (!file.groups.get(group)?.has(key)) continue;
    const list = listValue(file, group, key);
    if ("error" in list) return unparsed(key, list);
    lists[key] = list.value.map(fromText);
  }
  const flags = { recursive: true, force: true };
  for (const key of ["recursive", "force"] as const) {
    if (!file.groups.get(group)?.has(key)) continue;
    const flag = booleanValue(file, group, key);
    if ("error" in flag) return unparsed(key, flag);
    flags[key] = flag.value;
  }
  const raw = (key: string): ByteText | undefined => {
    const value = rawValue(file, group, key);
    return "error" in value ? undefined : fromText(value.value);
  };
  // Taken as they are written; strictly they are what the options of the command line make of them.
  const [base, prefix] = [raw("path_relative"), raw("path_prefix")];
  const { strict } = run;
  return {
    install: {
      sources: sources.value.map(fromText),
      destination: fromText(destination.value),
      ...flags,
      relativeTo: base === undefined || !strict ? base : absolute(run, base),
      prefix: prefix === undefined || !strict ? prefix : canonicalPrefix(prefix),
    },
    keys: lists.keys,
    keyDirectories: lists.key_dirs,
  };
}

/** What became of one configuration; `stop`: nothing that would come after it is done. */
type Outcome = "well" | "failed" | "stop";

async function installConfig(run: Run, path: ByteText): Promise<Outcome> {
  const name = toText(path);
  let bytes: Buffer;
  try {
    const file = absolute(run, path);
    const kind = kindBehind(file);
    if (kind === "directory" || kind === "other") {
      problem(run, `Can't load config file '${name}': Not a regular file`);
      return "failed";
    }
    bytes = readWhole(file, maxConfig);
  } catch (error) {
    const why = reasonOf(error);
    // A configuration that is not there is none, and nothing is wrong; strictly it is.
    if (why === "No such file or directory" && !run.strict) return "well";
    problem(run, `Can't load config file '${name}': ${why}`);
    return "failed";
  }
  const file = parseKeyFile(bytes);
  if ("error" in file) {
    problem(run, `Can't load config file '${name}': ${file.error}`);
    return "failed";
  }
  const config = parsedConfig(run, name, file.value);
  if (config === undefined) return "failed";
  const keys: readonly KeyObject[] | undefined = loadPublicKeys(config.keys, config.keyDirectories, run);
  if (keys === undefined) return "stop";
  return (await installFiles(run, config.install, keys)) ? "well" : "failed";
}

/** Files of a configuration directory: every name in it; strictly only *.conf may be there. */
export function configsIn(run: Run, directory: ByteText): readonly ByteText[] | undefined {
  let names: readonly ByteText[];
  try {
    names = namesIn(absolute(run, directory));
  } catch (error) {
    const why = reasonOf(error);
    if (why === "No such file or directory" && !run.strict) return [];
    problem(run, `Can't open config directory '${toText(directory)}': ${why}`);
    return undefined;
  }
  const strange = run.strict ? names.filter((name) => !name.endsWith(".conf")) : [];
  for (const name of strange) {
    problem(run, `'${toText(below(directory, name))}' is no configuration: its name does not end in .conf`);
  }
  return strange.length > 0 ? undefined : names.map((name) => below(directory, name));
}

/**
 * Installs what configurations say, one after the other.
 * @returns whether all went well; what did not was reported. A key that cannot be used ends it at once
 */
export async function installConfigs(
  run: Run,
  files: readonly ByteText[],
  directories: readonly ByteText[],
): Promise<boolean> {
  let isWell = true;
  const lists = [files, ...directories.map((directory) => configsIn(run, directory))];
  for (const path of lists.flatMap((list) => list ?? [])) {
    const outcome = await installConfig(run, path);
    if (outcome === "stop") return false;
    isWell = isWell && outcome === "well";
  }
  return isWell && lists.every((list) => list !== undefined);
}
