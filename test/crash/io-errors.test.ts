// F05, F06: every single system call of an update and of a rollback fails once, in each way that a disk can fail; or it
// and every one after it, as on a disk that is full or was mounted read-only. The device names the error, runs on with
// exactly the old generation or the new, and the same done again ends as it should.
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { rollback } from "../../src/agent/rollback.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { systemError } from "../../src/system/fault-injection.ts";
import { apply, crashBench, report } from "./bench.ts";
import { bootAndCheck, type Device, newDevice, recover } from "./device.ts";
import type { Scenario } from "./explore.ts";
import { type Change, withProbe } from "./probe.ts";

const bench = crashBench();

const failures = ["enospc", "erofs", "eio", "emfile"] as const;
type Failure = (typeof failures)[number];

/** What a named error of the disk is called. One that was met on the way back has the code of why it goes back. */
const names: Readonly<Record<Failure, RegExp>> = {
  enospc: /^(no-space|generation-unhealthy)$/,
  erofs: /^(io-failed|generation-unhealthy)$/,
  eio: /^(io-failed|generation-unhealthy)$/,
  emfile: /^(io-failed|generation-unhealthy)$/,
};

/** Whether a system call can fail in this way. A full disk can still be read, and nearly always have names removed. */
function canFail(failure: Failure, { kind }: Change): boolean {
  if (kind === "close") return false;
  if (failure === "emfile") return kind === "open" || kind === "sync-directory";
  if (failure === "enospc") return !["unlink", "rmdir", "sync-directory", "truncate"].includes(kind);
  // A read-only file system has nothing left to write back.
  if (failure === "erofs") return kind !== "sync" && kind !== "sync-directory";
  return true;
}

interface Attempt {
  readonly failed: boolean;
  readonly code: string | undefined;
}

/** @param isLasting whether all calls from the n-th on fail, or that one */
async function attempt(
  device: Device,
  work: Scenario["work"],
  failure: Failure,
  n: number,
  isLasting: boolean,
): Promise<Attempt> {
  let calls = 0;
  let failed = false;
  const before = (change: Change): void => {
    if (!canFail(failure, change)) return;
    const call = calls++;
    if (call !== n && !(isLasting && call > n)) return;
    failed = true;
    throw systemError(failure, change.kind);
  };
  try {
    await withProbe({ before }, () => work(device));
    return { failed, code: undefined };
  } catch (error) {
    return { failed, code: asMosError(error).code };
  }
}

async function everyCallFails(name: string, scenario: Scenario, failure: Failure): Promise<void> {
  const place = mkdtempSync(join(bench().directory, "io-"));
  const original = newDevice(join(place, "original"), bench().signers.ca.pem);
  await scenario.prepare(original);
  let tried = 0;
  const codes = new Map<string, number>();
  for (const isLasting of [false, true]) {
    for (let n = 0; ; n++) {
      const root = join(place, `${n}-${isLasting}`);
      const device = newDevice(root, bench().signers.ca.pem);
      cpSync(original.places.state, device.places.state, { recursive: true, verbatimSymlinks: true });
      await recover(device);
      const { failed, code } = await attempt(device, scenario.work, failure, n, isLasting);
      if (!failed) {
        rmSync(root, { recursive: true });
        break;
      }
      const what = `${name}, ${failure} at call ${n}${isLasting ? " and after" : ""}, ended with ${code}`;
      codes.set(code ?? "done", (codes.get(code ?? "done") ?? 0) + 1);
      if (code !== undefined) expect(code, what).toMatch(names[failure]);
      try {
        const current = code === undefined ? [scenario.after] : [scenario.before, scenario.after];
        await bootAndCheck(device, { current, idmaps: new Map() }, true);
        await scenario.work(device);
        await bootAndCheck(device, { current: [scenario.after], idmaps: new Map() }, true);
      } catch (error) {
        throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, { cause: error });
      }
      rmSync(root, { recursive: true });
      tried++;
    }
  }
  report(`${name}: ${failure} at ${tried} calls, ${JSON.stringify(Object.fromEntries(codes))}`);
  expect(tried).toBeGreaterThan(10);
}

describe.each(failures)("a disk that fails with %s at any call", (failure) => {
  test("in an update", async () => {
    const one = await bench().publish({ web: ["a"] }, { serial: 1, epoch: 0 });
    const two = await bench().publish({ web: ["a", "c"], more: ["b"] }, { serial: 2, epoch: 1 });
    const scenario = {
      prepare: (device: Device) => apply(device, one),
      work: (device: Device) => apply(device, two),
      before: one.digest,
      after: two.digest,
    };
    await everyCallFails("update", scenario, failure);
  });

  test("in a rollback", async () => {
    const one = await bench().publish({ web: ["a"] }, { serial: 1, epoch: 0 });
    const two = await bench().publish({ web: ["b"] }, { serial: 2, epoch: 0 });
    const scenario = {
      prepare: async (device: Device) => {
        await apply(device, one);
        await apply(device, two);
      },
      work: (device: Device) => rollback(device, 1, () => undefined),
      before: two.digest,
      after: one.digest,
    };
    await everyCallFails("rollback", scenario, failure);
  });
});
