// A program that fetch-space.test.ts runs in a mount namespace of its own: updates a device whose state is on a small
// filesystem, which somebody else fills while layers are fetched. Arguments: directory of the device, reference.
// Prints what happened as JSON.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { update } from "../../src/agent/update.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { listGenerations } from "../../src/generation/generations.ts";
import { contextIn } from "./device-fixture.ts";

/** What one attempt did. */
export interface Attempt {
  readonly code: string;
  readonly message: string;
  readonly generations: readonly number[];
  /** Bytes of what is left of layers that are not whole. */
  readonly partials: readonly number[];
}

const [root = "", reference = ""] = process.argv.slice(2);
const device = contextIn(root);
const { state } = device.places;
const other = join(state, "other-file");

async function attempt(onBytes: (done: number) => void): Promise<Attempt> {
  let error: unknown;
  try {
    await update(device, reference, { allowOlder: false, retry: false }, (event) => {
      if (event.kind === "bytes") onBytes(event.done);
    });
  } catch (thrown) {
    error = thrown;
  }
  const { code, message } = error === undefined ? { code: "updated", message: "" } : asMosError(error);
  const store = join(state, "oci");
  const partials = readdirSync(store).filter((name) => name.startsWith(".partial-"));
  return {
    code,
    message,
    generations: await listGenerations(device.places),
    partials: partials.map((name) => statSync(join(store, name)).size),
  };
}

mkdirSync(state, { recursive: true });
execFileSync("mount", ["-t", "tmpfs", "-o", "size=23m", "tmpfs", state]);
const attempts: Attempt[] = [];
// The layers have 6 MiB, and 16 are to stay free. This leaves 10: enough for all that is to come, but not for the system.
attempts.push(
  await attempt((done) => {
    if (done >= 2 * 1024 * 1024) writeFileSync(other, Buffer.alloc(11 * 1024 * 1024));
  }),
);
rmSync(other);
// Only because what is there already is not counted again.
attempts.push(await attempt(() => undefined));
process.stdout.write(JSON.stringify(attempts));
