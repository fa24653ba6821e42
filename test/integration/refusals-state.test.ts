// Updates of a device whose own state is in the way: no space, another update, files that somebody has damaged or
// planted (faults F06, F07, F17; attack A21).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { update } from "../../src/agent/update.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { listGenerations, pointedGeneration } from "../../src/generation/generations.ts";
import { lockPath } from "../../src/generation/places.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { snapshot, updateEnding } from "./device-fixture.ts";
import type { Attempt } from "./full-disk.ts";
import {
  damageBlob,
  expectRefused,
  flipped,
  goodParts,
  type Image,
  installArtifact,
  installManifest,
  makeSigners,
  newDevice,
  type Parts,
  packImage,
  runningDevice,
  type Signers,
  writeParts,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let image: Image;
let good: Parts;
/** The layout that all tests update from: the manifests `before` and `1.0.0`. */
let layout: string;
let reference: string;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  const small = await packImage(work, 16, "before");
  image = await packImage(work, 1500, "service");
  good = goodParts(signers, image);
  layout = join(work, "layout");
  const before = goodParts(signers, small, installManifest(small, { product: "before" }));
  await writeParts(layout, before);
  const { manifest } = installArtifact(before);
  await (await Layout.open(layout)).putManifest(manifest, mediaTypes.manifest, "before");
  reference = await writeParts(layout, good);
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe.skipIf(process.geteuid?.() !== 0)("a filesystem without space", () => {
  async function onSmallDisk(scenario: string): Promise<readonly Attempt[]> {
    const root = await temporaryDirectory();
    await writeFile(join(root, "ca.pem"), signers.ca.pem);
    const program = join(import.meta.dirname, "full-disk.ts");
    const namespace = ["--mount", "--propagation", "private"];
    const args = [...namespace, process.execPath, program, root, layout, scenario];
    return JSON.parse((await run("unshare", args)).stdout);
  }

  const clean = [".lock", "blobs", "index.json", "oci-layout"];

  test("is noticed before the first layer is fetched", async () => {
    const [attempt] = await onSmallDisk("small");
    // Two blobs: the image's manifest and configuration.
    expect(attempt).toMatchObject({
      code: "no-space",
      isUnchanged: true,
      generations: [],
      store: clean,
      blobs: 2,
    });
  });

  test.each(["fetch images", "stage", "commit"])(
    "that another program fills at the step %s",
    async (step) => {
      const [first, full, again] = await onSmallDisk(step);
      expect(first).toMatchObject({ code: "updated", current: 1 });
      expect(full).toMatchObject({
        ...{ code: "no-space", isUnchanged: true, current: 1, generations: [1] },
        store: [...clean, "other-file"],
      });
      expect(again).toMatchObject({ code: "updated", current: 2, generations: [1, 2] });
    },
  );

  test("or without inodes, wherever they run out", async () => {
    const attempts = await onSmallDisk("inodes");
    const last = attempts.at(-1);
    expect(last).toMatchObject({ code: "updated", current: 1, generations: [1] });
    for (const attempt of attempts.slice(0, -1)) {
      expect(attempt).toMatchObject({ code: "no-space", generations: [] });
      expect(attempt.current).toBeUndefined();
      expect(attempt.store.filter((name) => name.startsWith(".partial"))).toEqual([]);
    }
    expect(attempts.length).toBeGreaterThan(5);
  });
});

describe("two updates at once", () => {
  test("the second is told who holds the device, and changes nothing", async () => {
    const device = await runningDevice(signers, image);
    const holder = spawn(
      process.execPath,
      ["--input-type=module", "--eval", holdLock, lockPath(device.places)],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    onTestFinished(() => void holder.kill());
    await once(holder.stdout, "data");
    const error = await expectRefused(device, reference, "busy");
    expect(error.message).toContain(`update to the moon (process ${holder.pid}`);
    expect(error.exitCode).toBe(7);
    holder.stdin.end();
    await once(holder, "exit");
    expect((await updateEnding(device, reference)).code).toBe("updated");
  });

  test("one that was killed holds nothing up (complaint 18)", async () => {
    const device = await runningDevice(signers, image);
    const holder = spawn(
      process.execPath,
      ["--input-type=module", "--eval", holdLock, lockPath(device.places)],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    await once(holder.stdout, "data");
    holder.kill("SIGKILL");
    await once(holder, "exit");
    expect((await updateEnding(device, reference)).code).toBe("updated");
  });

  test("one of them is made, whole", async () => {
    const device = await newDevice(signers);
    const codes = await Promise.all([1, 2, 3].map(async () => (await updateEnding(device, reference)).code));
    expect(codes.sort()).toEqual(["busy", "busy", "updated"]);
    expect(await listGenerations(device.places)).toEqual([1]);
  });

  test("a holder that was killed holds nothing any more", async () => {
    const device = await newDevice(signers);
    const holder = spawn(
      process.execPath,
      ["--input-type=module", "--eval", holdLock, lockPath(device.places)],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    await once(holder.stdout, "data");
    holder.kill("SIGKILL");
    await once(holder, "exit");
    expect((await updateEnding(device, reference)).code).toBe("updated");
  });
});

/** Holds the lock at the path it is given until its standard input ends. */
const holdLock = `
import { withLock } from ${JSON.stringify(join(import.meta.dirname, "../../src/system/lock.ts"))};
await withLock(process.argv[1], "update to the moon", async () => {
  process.stdout.write("held");
  for await (const _ of process.stdin);
});`;

describe("state that is not as mos left it", () => {
  const plants: Record<string, (state: string) => Promise<unknown>> = {
    "current points out of the state": async (state) => {
      await rm(join(state, "current"));
      await symlink("/etc", join(state, "current"));
    },
    "current points to a generation that is not there": async (state) => {
      await rm(join(state, "current"));
      await symlink("generations/99", join(state, "current"));
    },
    "generation.json is damaged": (state) => writeFile(join(state, "generations/1/generation.json"), "{"),
    "generation.json is empty": (state) => writeFile(join(state, "generations/1/generation.json"), ""),
    "the signature of the running generation is damaged": async (state) => {
      const path = join(state, "generations/1/install.json.signed");
      await writeFile(path, flipped(await readFile(path)));
    },
    "install.json of the running generation is gone": (state) =>
      rm(join(state, "generations/1/install.json")),
    "a half-written generation was left": async (state) => {
      await mkdir(join(state, "generations/.2.tmp"));
      await writeFile(join(state, "generations/.2.tmp/install.json"), "{");
    },
    "a stored layer is a link out of the store": async (state) => {
      const path = join(state, "oci/blobs/sha256", hexOf(image.layer.descriptor.digest));
      await rm(path);
      await symlink("/etc/passwd", path);
    },
    "a stored layer is cut off": async (state) => {
      const path = join(state, "oci/blobs/sha256", hexOf(image.layer.descriptor.digest));
      await writeFile(path, (await readFile(path)).subarray(0, 8192));
    },
    "a stored layer has a damaged header": (state) =>
      damageBlob(join(state, "oci"), image.layer.descriptor.digest, 0),
    "a link out of the store stands where a layer is being fetched": async (state) => {
      const hex = hexOf(image.layer.descriptor.digest);
      await rm(join(state, "oci/blobs/sha256", hex));
      await writeFile(join(state, "../victim"), "untouched");
      await symlink("../../victim", join(state, `oci/.partial-${hex}`));
    },
  };

  test.each(Object.keys(plants))("%s: an update mends it", async (name) => {
    const device = await runningDevice(signers, image);
    await plants[name]?.(device.places.state);
    const { code, message } = await updateEnding(device, reference);
    expect(code, message).toBe("updated");
    const current = await pointedGeneration(device.places, "current");
    expect(current).toBeGreaterThan(1);
    const stored = join(device.places.state, "oci/blobs/sha256", hexOf(image.layer.descriptor.digest));
    expect(Buffer.from(image.layer.bytes).equals(await readFile(stored))).toBe(true);
    const installed = join(device.places.state, `generations/${current}/install.json`);
    expect(Buffer.from(good.installJson).equals(await readFile(installed))).toBe(true);
    const victim = await readFile(join(device.places.state, "../victim"), "utf8").catch(() => "untouched");
    expect(victim).toBe("untouched");
    expect(await readdir(join(device.places.state, "generations"))).not.toContain(".2.tmp");
  });

  const refused: Record<string, (state: string) => Promise<unknown>> = {
    "uid ranges are damaged": (state) => writeFile(join(state, "idmaps.json"), "{"),
    "two groups have one uid range": (state) =>
      writeFile(
        join(state, "idmaps.json"),
        JSON.stringify({
          version: 1,
          maps: [
            { nsgroup: "web", hostid: 100_000 },
            { nsgroup: "other", hostid: 120_000 },
          ],
        }),
      ),
    "the store's blobs are elsewhere": async (state) => {
      await rm(join(state, "oci/blobs"), { recursive: true });
      await symlink("/tmp", join(state, "oci/blobs"));
    },
  };
  test.each(Object.keys(refused))("%s: nothing is guessed", async (name) => {
    const device = await runningDevice(signers, image);
    await refused[name]?.(device.places.state);
    const error = await expectRefused(device, reference, "state-invalid");
    expect(error.message).toContain(device.places.state);
  });

  test("a manifest that is current already becomes no second generation", async () => {
    const device = await newDevice(signers);
    await updateEnding(device, reference);
    const before = await snapshot(device);
    expect((await updateEnding(device, reference)).code).toBe("unchanged");
    expect(await snapshot(device)).toEqual(before);
    expect(await readlink(join(device.places.state, "current"))).toBe("generations/1");
  });
});

test("a caller that does not listen any more does not stop an update", async () => {
  const device = await newDevice(signers);
  const broken = update(device, reference, { allowOlder: false, retry: false }, () => {
    throw new Error("the caller is gone");
  });
  // The agent's own sender never throws (server.ts); what does throw is a defect and is no half update.
  expect(asMosError(await broken.catch((error: unknown) => error)).code).toBe("internal");
  expect(await listGenerations(device.places)).toEqual([]);
});
