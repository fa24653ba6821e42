// A directory for a whole test file, as temporaryDirectory() of ../support.ts is for one test.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The caller removes it. */
export async function makeWorkDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), "mos-work-"));
}
