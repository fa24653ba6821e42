// F01, F03, as update.test.ts: the changes that are not of every update.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { gc } from "../../src/agent/gc.ts";
import { rollback } from "../../src/agent/rollback.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { serviceUnit } from "../../src/services/unit-names.ts";
import { make } from "../unit/trust/authority.ts";
import { apply, crashBench, report } from "./bench.ts";

const bench = crashBench();
const first = { serial: 1, epoch: 0 };
const second = { serial: 2, epoch: 0 };

describe("a power cut", () => {
  test("in the second update, whose download continues what an earlier one left", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    const two = await bench().publish({ web: ["b"] }, second);
    const [layer] = two.layers;
    await bench().survives("update that continues a download", {
      prepare: async (device) => {
        await apply(device, one);
        if (layer === undefined) throw new Error("the release has a layer");
        const { digest, size } = layer.descriptor;
        const store = join(device.places.state, "oci");
        const bytes = readFileSync(join(two.directory, "blobs/sha256", hexOf(digest)));
        mkdirSync(store, { recursive: true });
        writeFileSync(join(store, `.partial-${hexOf(digest)}`), bytes.subarray(0, size >> 1), {
          mode: 0o600,
        });
      },
      work: (device) => apply(device, two),
      before: one.digest,
      after: two.digest,
    });
  });

  test("in a collection of what nobody needs any more", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    const bad = await bench().publish({ web: ["a"], bad: ["c"] }, second);
    const two = await bench().publish({ web: ["b"] }, second);
    await bench().survives("gc", {
      prepare: async (device) => {
        await apply(device, one);
        await apply(device, two);
        // What failed is kept by no pointer, and its blobs and its uid range by nothing.
        await expect(apply(device, bad)).rejects.toMatchObject({ code: "generation-unhealthy" });
        mkdirSync(join(device.places.state, "generations/.9.tmp"));
        writeFileSync(join(device.places.state, `oci/.partial-${"0".repeat(64)}`), "part");
      },
      work: async (device) => {
        const { generations, blobs, leftovers } = await gc(device, { dryRun: false });
        const again = await gc(device, { dryRun: true });
        expect([...again.generations, ...again.blobs, ...again.leftovers]).toEqual([]);
        return [generations, blobs, leftovers];
      },
      before: two.digest,
      after: two.digest,
      failing: [serviceUnit("bad")],
      mayForgetIds: ["bad"],
    });
  });

  test("in a rollback", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    const two = await bench().publish({ web: ["b"] }, second);
    await bench().survives("rollback", {
      prepare: async (device) => {
        await apply(device, one);
        await apply(device, two);
      },
      work: (device) => rollback(device, 1, () => undefined),
      before: two.digest,
      after: one.digest,
    });
  });

  test("in the trial of a generation that does not become healthy, and on the way back", async () => {
    const one = await bench().publish({ web: ["a"] }, first);
    const two = await bench().publish({ web: ["a"], bad: ["b"] }, second);
    await bench().survives("trial that fails", {
      prepare: (device) => apply(device, one),
      work: async (device) => {
        const error = await apply(device, two).then(() => undefined, asMosError);
        // Once it is known to have failed here, it is not tried again.
        expect(error?.code).toMatch(/^generation-(unhealthy|failed-before)$/);
      },
      before: one.digest,
      after: one.digest,
      failing: [serviceUnit("bad")],
    });
  });

  test("in an update that changes whom the device trusts, and raises its epoch", async () => {
    const ca = await make({ ca: true, subject: "CN=Next CA" });
    const next = await make({ issuer: ca, subject: "CN=Next" });
    const anchors = [Buffer.from(ca.der).toString("base64")];
    const one = await bench().publish({ web: ["a"] }, first);
    const by = [bench().signers.project, next];
    const two = await bench().publish({ web: ["b"] }, { serial: 2, epoch: 1, anchors }, by);
    await bench().survives("handover", {
      prepare: (device) => apply(device, one),
      work: (device) => apply(device, two),
      before: one.digest,
      after: two.digest,
    });
  });

  test("was tried in many states", () => {
    report(`transactions: ${bench().states} states`);
    expect(bench().states).toBeGreaterThan(600);
  });
});
