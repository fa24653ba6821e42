// F01, F03: the power goes at every change that an update makes to the disk, and each time the disk holds any of what
// it may hold then (disk.ts); or the agent is killed there, starts again, and the power goes after that. The device boots
// with exactly the old generation or the new, whole, and can do again what was cut.
import { describe, expect, test } from "vitest";
import { apply, crashBench, report, seed } from "./bench.ts";
import type { Device } from "./device.ts";
import { explore } from "./explore.ts";

const bench = crashBench();
const first = { serial: 1, epoch: 0 };
const second = { serial: 2, epoch: 0 };

describe("a power cut", () => {
  test("in the first update", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    await bench().survives("first update", {
      prepare: async () => undefined,
      work: (device) => apply(device, one),
      before: undefined,
      after: one.digest,
    });
  });

  test("in an update that shares layers and brings a service and a uid range more", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    const two = await bench().publish({ web: ["a", "c"], more: ["b"] }, second);
    await bench().survives("update with shared layers", {
      prepare: (device) => apply(device, one),
      work: (device) => apply(device, two),
      before: one.digest,
      after: two.digest,
    });
  });

  test.each(["sync", "sync-directory"] as const)(
    "is not survived by one that leaves out %s",
    async (forget) => {
      const one = await bench().publish({ web: ["a"] }, first);
      const two = await bench().publish({ web: ["b"] }, second);
      const { directory, signers } = bench();
      const scenario = {
        prepare: (device: Device) => apply(device, one),
        work: (device: Device) => apply(device, two),
        before: one.digest,
        after: two.digest,
      };
      await expect(explore({ directory, caPem: signers.ca.pem, seed, forget }, scenario)).rejects.toThrow(
        /power cut after operation/,
      );
    },
  );

  test("was tried in many states", () => {
    report(`updates: ${bench().states} states`);
    expect(bench().states).toBeGreaterThan(1000);
  });
});
