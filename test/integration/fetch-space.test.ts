// Room on the device while it fetches: what stays free stays free, also when somebody else writes (fault F06).
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { type PublishedSet, publishSet } from "./fetch-fixture.ts";
import type { Attempt } from "./fetch-full-disk.ts";
import { serveLayout } from "./layout-server.ts";
import { makeSigners, type Signers } from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [3000, 3000]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe.skipIf(process.geteuid?.() !== 0)("a filesystem that somebody else fills meanwhile", () => {
  test("stops the update while there is still room for the system, and nothing that came is lost", async () => {
    const ranges: string[] = [];
    const authority = await serveLayout(set.directory, (request) => {
      if (request.headers.range !== undefined) ranges.push(request.headers.range);
      return false;
    });
    const root = await temporaryDirectory();
    await writeFile(join(root, "ca.pem"), signers.ca.pem);
    // Slow enough that it is noticed before all is there.
    await writeFile(join(root, "fetch.json"), JSON.stringify({ version: 1, rateLimit: 2_000_000 }));
    const program = join(import.meta.dirname, "fetch-full-disk.ts");
    const namespace = ["--mount", "--propagation", "private"];
    const reference = `${authority}/machine/install:1.0.0`;
    const args = [...namespace, process.execPath, program, root, reference];
    const attempts: readonly Attempt[] = JSON.parse((await run("unshare", args)).stdout);
    const [full, again] = attempts;
    expect(full).toMatchObject({ code: "no-space", generations: [] });
    expect(full?.message).toMatch(/cannot go on fetching/);
    // Both layers had begun.
    expect(full?.partials).toHaveLength(2);
    expect(again).toMatchObject({ code: "updated", generations: [1], partials: [] });
    const offsets = ranges.map((range) => Number(/\d+/.exec(range)?.[0])).sort();
    expect(offsets).toEqual([...(full?.partials ?? [])].sort());
  });
});
