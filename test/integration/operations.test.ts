// Operations as people have them: mosctl and the agent as real processes, over real sockets (F17).
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { contextIn } from "./device-fixture.ts";
import { serveParts } from "./layout-server.ts";
import { goodParts, type Image, installManifest, type Signers, signedImage } from "./refusals-fixture.ts";

const here = import.meta.dirname;
const main = join(here, "../../src/main.ts");
const mosctlScript = 'mount --bind "$RUN" /run && exec "$NODE" "$MAIN" mosctl "$@"';

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("one", 4096));
});

interface Answer {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

class Device {
  readonly root: string;
  readonly run: string;

  constructor(root: string) {
    this.root = root;
    this.run = join(root, "slash-run");
  }

  get context() {
    return contextIn(this.root);
  }

  private call(args: readonly string[]): readonly [string, string[]] {
    return [
      "unshare",
      ["--mount", "--propagation", "private", "bash", "-c", mosctlScript, "mosctl", ...args],
    ];
  }

  private get env(): Record<string, string> {
    return { RUN: this.run, NODE: process.execPath, MAIN: main };
  }

  async mosctl(...args: string[]): Promise<Answer> {
    const [program, all] = this.call(args);
    const accept = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    const { exitCode, stdout, stderr } = await run(program, all, { env: this.env, accept });
    return { exit: exitCode, stdout, stderr };
  }

  start(...args: string[]): ChildProcess {
    const [program, all] = this.call(args);
    return spawn(program, all, { env: { ...process.env, ...this.env }, stdio: "ignore" });
  }

  async blobs(): Promise<string[]> {
    return await readdir(join(this.root, "state/oci/blobs/sha256")).catch(() => []);
  }

  /** Lengths of the files of layers that are being fetched, or were until something ended that. */
  async partials(): Promise<number[]> {
    const store = join(this.root, "state/oci");
    const names = (await readdir(store)).filter((name) => name.startsWith(".partial-"));
    return await Promise.all(names.map(async (name) => (await stat(join(store, name))).size));
  }
}

/** A device with its agent. */
async function startDevice(): Promise<Device> {
  const device = new Device(await temporaryDirectory());
  await writeFile(join(device.root, "ca.pem"), signers.ca.pem);
  const agent = spawn(process.execPath, [join(here, "agent-process.ts"), device.root, device.run], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  onTestFinished(() => void agent.kill("SIGKILL"));
  await once(agent.stdout, "data");
  return device;
}

/** A registry that sends half of the layer and then nothing, until it is released. */
async function stuckRegistry(serial = 1) {
  const health = { timeout: 10, settle: 0, tries: 1 };
  const installJson = installManifest(image, { release: { serial, epoch: 0 }, health });
  const layer = image.layer;
  const name = hexOf(layer.descriptor.digest);
  const asked = Promise.withResolvers<void>();
  const ranges: (string | undefined)[] = [];
  const waiting = new Set<() => void>();
  let isReleased = false;
  const reference = await serveParts(
    goodParts(signers, image, installJson),
    (request, response: ServerResponse) => {
      if (!(request.url ?? "").endsWith(name)) return false;
      ranges.push(request.headers.range);
      if (isReleased) return false;
      const half = layer.bytes.length >> 1;
      response.writeHead(200, { "Content-Length": layer.bytes.length });
      response.write(layer.bytes.subarray(0, half));
      waiting.add(() => response.end(layer.bytes.subarray(half)));
      asked.resolve();
      return true;
    },
  );
  const release = () => {
    isReleased = true;
    for (const finish of waiting) finish();
    waiting.clear();
  };
  onTestFinished(release);
  return { reference, asked: asked.promise, ranges, release };
}

const errorIn = ({ stdout }: Answer): { code: string; message: string } => JSON.parse(stdout).error;

/** Looks again and again; the test's own time limit ends it. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 50));
}

describe.skipIf(process.getuid?.() !== 0)("an update that nobody waits for", () => {
  test("returns at once, is told to others, and is cancelled with what it has fetched", async () => {
    const device = await startDevice();
    const registry = await stuckRegistry();
    const begun = await device.mosctl("update", "--no-wait", registry.reference);
    expect(begun).toMatchObject({ exit: 0, stdout: expect.stringContaining("Begun: update to 127.0.0.1") });
    await registry.asked;

    const other = await device.mosctl("update", "--json", registry.reference);
    expect(other.exit).toBe(7);
    expect(errorIn(other)).toMatchObject({ code: "busy" });
    expect(errorIn(other).message).toMatch(/update to 127.*\(since 20.*at the step "fetch images"\)/);

    const status = await device.mosctl("status");
    expect(status.stdout).toMatch(/update to 127\S+, for .*, now: fetch images; mosctl cancel ends it/);

    // A megabyte is written at once. What a cancellation finds empty it removes.
    await until(async () => ((await device.partials())[0] ?? 0) > 0);
    const cancelled = await device.mosctl("cancel");
    expect(cancelled).toMatchObject({
      exit: 0,
      stdout: expect.stringContaining('at the step "fetch images"'),
    });
    expect(errorIn(await device.mosctl("cancel", "--json")).code).toBe("nothing-running");
    expect(JSON.parse((await device.mosctl("status", "--json")).stdout).operation).toBeUndefined();
    expect(await listGenerations(device.context.places)).toEqual([]);
    expect(await device.partials()).toHaveLength(1);

    // The next attempt goes on where this one was.
    registry.release();
    const done = await device.mosctl("update", registry.reference);
    expect(done).toMatchObject({ exit: 0, stdout: expect.stringContaining("Updated.") });
    expect(registry.ranges.at(-1)).toMatch(/^bytes=[1-9]/);
  });
});

describe.skipIf(process.getuid?.() !== 0)("an update whose caller is killed", () => {
  test("goes on", async () => {
    const device = await startDevice();
    const registry = await stuckRegistry();
    const caller = device.start("update", registry.reference);
    await registry.asked;
    caller.kill("SIGKILL");
    await once(caller, "exit");
    registry.release();
    await until(async () => (await listGenerations(device.context.places)).length === 1);
  });
});

describe.skipIf(process.getuid?.() !== 0)("two updates at once", () => {
  test("are done one after the other, when the second waits", async () => {
    const device = await startDevice();
    const [first, second] = [await stuckRegistry(1), await stuckRegistry(2)];
    second.release();
    const one = device.mosctl("update", first.reference);
    await first.asked;
    expect((await device.mosctl("update", "--wait-lock", "0", second.reference)).exit).toBe(7);
    const two = device.mosctl("update", "--wait", second.reference);
    first.release();
    expect([(await one).exit, (await two).exit]).toEqual([0, 0]);
    expect(await listGenerations(device.context.places)).toEqual([1, 2]);
    const compared = JSON.parse((await device.mosctl("diff", "--json")).stdout);
    expect(compared).toMatchObject({
      ...{ from: 1, to: 2, kept: ["web"], changed: [] },
      release: [{ field: "serial", before: "1", after: "2" }],
      layers: { shared: { layers: 1 }, added: { layers: 0, bytes: 0 } },
    });
  });
});

describe.skipIf(process.getuid?.() !== 0)("an update of a device that is in use", () => {
  test("fetches, and changes services once nobody is busy any more", async () => {
    const device = await startDevice();
    const registry = await stuckRegistry();
    registry.release();
    const busy = join(device.root, "run/busy.d");
    await mkdir(busy, { recursive: true });
    await writeFile(join(busy, "measurement"), "");
    const update = device.mosctl("update", "--when-idle", registry.reference);
    await until(async () => (await device.blobs()).includes(hexOf(image.layer.descriptor.digest)));
    expect(await listGenerations(device.context.places)).toEqual([]);
    expect(errorIn(await device.mosctl("update", "--json", registry.reference)).code).toBe("busy");
    expect(errorIn(await device.mosctl("gc", "--json")).code).toBe("busy");
    const status = JSON.parse((await device.mosctl("status", "--json")).stdout);
    expect(status.operation).toMatchObject({ purpose: expect.stringContaining("update to 127") });
    await rm(join(busy, "measurement"));
    expect(await update).toMatchObject({ exit: 0, stdout: expect.stringContaining("Updated.") });
  });
});
