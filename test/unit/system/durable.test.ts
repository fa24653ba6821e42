// All changes to the state go through src/system/durable.ts: what test/crash records and cuts is then all there is.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const src = join(import.meta.dirname, "../../../src");

/** What of node:fs changes nothing. `open` can: where it is allowed, see below. */
const reading = new Set([
  ...["constants", "createReadStream", "Stats", "StatsFs"],
  ...["access", "existsSync", "lstat", "lstatSync", "readdir", "readdirSync", "readFile", "readFileSync"],
  ...["readlink", "readlinkSync", "stat", "statSync", "statfs", "statfsSync"],
  ...["openSync", "closeSync", "fstatSync", "readSync"],
]);

/** Files of these rooms that change something without the layer, or open files, and why that is right. */
const exceptions: Readonly<Record<string, string>> = {
  "agent/apply-units.ts": "units and the marker are below /run, which no power cut outlives",
  "agent/daemon.ts": "the sockets are below /run",
  "agent/files-record.ts": "what the stages of a boot tell each other is below /run",
  "agent/stage-record.ts": "what the stages of a boot tell each other is below /run",
  "signed-files/write-files.ts":
    "writes as validator does, which waits for no disk; --strict does not use it",
  "signed-sets/read-set.ts": "opens to read, O_RDONLY",
  "apps/build-app.ts": "makes a bundle where apps are built, in a temporary directory",
  "oci/archive.ts": "opens to read",
  "oci/blob-read.ts": "opens to read, O_RDONLY",
  "trust/trusted-file.ts": "opens to read, O_RDONLY",
};

const rooms = ["agent", "apps", "generation", "oci", "signed-files", "signed-sets", "archives"];
const files = [
  ...rooms.flatMap((room) =>
    readdirSync(join(src, room), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => `${room}/${name}`),
  ),
  ...["trust/file-memory.ts", "trust/trusted-file.ts", "system/atomic-file.ts"],
];

/** Names that a source imports from node:fs in any form; `*` for a namespace or an import() expression. */
function importedNames(source: string): string[] {
  const lists = [
    ...source.matchAll(/import\s+(type\s+)?\{([^}]*)\}\s+from\s+"(?:node:)?fs(?:\/promises)?"/g),
  ];
  const names = lists.flatMap(([, , list = ""]) =>
    list
      .split(",")
      .map((one) =>
        one
          .replace(/^\s*type\s+/, "")
          .replace(/\s+as\s+.*$/, "")
          .trim(),
      )
      .filter((one) => one !== ""),
  );
  const all = source.match(/"(?:node:)?fs(?:\/promises)?"/g)?.length ?? 0;
  return all > lists.length ? [...names, "*"] : names;
}

describe("changes to the state", () => {
  test.each(files)("%s makes none but through the layer", (file) => {
    const changing = importedNames(readFileSync(join(src, file), "utf8")).filter(
      (name) => !reading.has(name),
    );
    if (exceptions[file] !== undefined) expect(changing, "the exception is not needed").not.toEqual([]);
    else expect(changing).toEqual([]);
  });

  test("are found in whatever form they are imported", () => {
    expect(importedNames('import { rm, type Stats } from "node:fs/promises";')).toEqual(["rm", "Stats"]);
    expect(importedNames('import {\n  rm as remove,\n} from "fs";')).toEqual(["rm"]);
    expect(importedNames('import * as fs from "node:fs";')).toEqual(["*"]);
    expect(importedNames('const { rm } = await import("node:fs/promises");')).toEqual(["*"]);
  });
});
