// A program that refusals-state.test.ts runs in a mount namespace of its own: updates a device whose state is on a
// small filesystem. Arguments: directory of the device, OCI layout with the manifests `before` and `1.0.0`, scenario.
// Prints what happened as JSON.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listGenerations, pointedGeneration } from "../../src/generation/generations.ts";
import { contextIn, snapshot, updateEnding } from "./device-fixture.ts";

/** What one attempt did. */
export interface Attempt {
  readonly code: string;
  readonly isUnchanged: boolean;
  readonly current: number | undefined;
  readonly generations: readonly number[];
  /** Files of the store that are no blobs. */
  readonly store: readonly string[];
  readonly blobs: number;
}

const [root = "", layout = "", scenario = ""] = process.argv.slice(2);
const device = contextIn(root);
const { state } = device.places;

async function attempt(tag: string, onStep?: (step: string) => void): Promise<Attempt> {
  const before = await snapshot(device);
  const { code } = await updateEnding(device, `oci:${layout}:${tag}`, onStep);
  const names = (directory: string) => readdirSync(join(state, "oci", directory)).sort();
  return {
    code,
    isUnchanged: before.join("\n") === (await snapshot(device)).join("\n"),
    current: await pointedGeneration(device.places, "current"),
    generations: await listGenerations(device.places),
    store: names("."),
    blobs: names("blobs/sha256").length,
  };
}

function mount(options: string): void {
  mkdirSync(state, { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", state]);
}

/** Takes all the space there is. */
function fill(path: string): void {
  for (const size of [1024 * 1024, 4096, 1]) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size), { flag: "a" });
    } catch {
      // Until not even one byte is left.
    }
  }
}

const attempts: Attempt[] = [];
if (scenario === "small") {
  mount("size=8m");
  attempts.push(await attempt("1.0.0"));
} else if (scenario === "inodes") {
  for (let inodes = 10; attempts.at(-1)?.code !== "updated" && inodes < 60; inodes++) {
    mount(`size=40m,nr_inodes=${inodes}`);
    attempts.push(await attempt("1.0.0"));
    execFileSync("umount", [state]);
    for (const path of [device.unitDirectory, device.quadletDirectory])
      rmSync(path, { recursive: true, force: true });
  }
} else {
  mount("size=40m");
  attempts.push(await attempt("before"));
  const other = join(state, "oci/other-file");
  attempts.push(await attempt("1.0.0", (step) => step === scenario && fill(other)));
  rmSync(other);
  attempts.push(await attempt("1.0.0"));
}
process.stdout.write(JSON.stringify(attempts));
