// Going back on a device: from its disk, verified by whom it trusts today, or not at all.
import { readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { history } from "../../src/agent/history.ts";
import { rollback } from "../../src/agent/rollback.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import type { InstallManifest, Release } from "../../src/manifest/schema.ts";
import { type Issued, make } from "../unit/trust/authority.ts";
import { snapshot, updateEnding } from "./device-fixture.ts";
import {
  goodParts,
  type Image,
  installManifest,
  makeSigners,
  newDevice,
  packImage,
  published,
  type Signers,
  signWith,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let signers: Signers;
let image: Image;
let other: Image;
let work: string;
beforeAll(async () => {
  signers = await makeSigners();
  work = await makeWorkDirectory();
  image = await packImage(work, 1, "one");
  other = await packImage(work, 1, "two");
});
afterAll(() => rm(work, { recursive: true, force: true }));

const release = (serial: number, epoch = 0, change: Partial<Release> = {}): Partial<InstallManifest> => ({
  release: { serial, epoch, ...change },
});

async function apply(
  device: AgentContext,
  of: Image,
  change: Partial<InstallManifest>,
  by: readonly Issued[] = [signers.project],
): Promise<void> {
  const installJson = installManifest(of, change);
  const { reference } = await published({
    ...goodParts(signers, of, installJson),
    certificates: by.map(({ pem }) => Buffer.from(pem)),
    signatures: by.map((one) => signWith(one, installJson)),
  });
  expect((await updateEnding(device, reference)).code).toBe("updated");
}

/** Its outcome, or the code of its error. */
async function rollbackEnding(device: AgentContext, generation?: number): Promise<string> {
  try {
    return (await rollback(device, generation, () => undefined)).outcome;
  } catch (error) {
    return asMosError(error).code;
  }
}

const runs = (device: AgentContext) => readlink(join(device.places.state, "current"));

async function expectNoWay(device: AgentContext, code: string, generation?: number): Promise<void> {
  const before = await snapshot(device);
  expect(await rollbackEnding(device, generation)).toBe(code);
  expect(await snapshot(device)).toEqual(before);
}

describe("a device with several generations", () => {
  test("goes to the one before, there and back, and to any other by its number", async () => {
    const device = await newDevice(signers);
    await apply(device, image, release(1));
    await apply(device, other, release(2));
    await apply(device, image, release(3));
    expect(await rollbackEnding(device)).toBe("rolled-back");
    expect(await runs(device)).toBe("generations/2");
    expect(await rollbackEnding(device)).toBe("rolled-back");
    expect(await runs(device)).toBe("generations/3");
    expect(await rollbackEnding(device, 1)).toBe("rolled-back");
    expect(await runs(device)).toBe("generations/1");
  });

  test("lists them, with whether it would go back to them", async () => {
    const device = await newDevice(signers);
    await apply(device, image, release(1));
    await apply(device, image, release(1, 1));
    await apply(device, image, release(2, 1));
    expect(await history(device)).toMatchObject([
      { number: 3, state: "current", release: { serial: 2, epoch: 1 } },
      { number: 2, state: "previous", release: { serial: 1, epoch: 1 } },
      { number: 1, state: "kept", error: { code: "release-epoch-low" } },
    ]);
    const entries = await history(device);
    expect(entries.map(({ error }) => error === undefined)).toEqual([true, true, false]);
  });

  test("has no way back to an epoch that it has left", async () => {
    const device = await newDevice(signers);
    await apply(device, image, release(1));
    await apply(device, image, release(1, 1));
    await expectNoWay(device, "release-epoch-low");
  });

  test("has no way back to before a handover, whose signer it does not trust any more", async () => {
    const device = await newDevice(signers);
    await apply(device, image, release(1));
    const ca = await make({ ca: true, subject: "CN=Next CA" });
    const next = await make({ issuer: ca, subject: "CN=Next" });
    const anchors = [Buffer.from(ca.der).toString("base64")];
    await apply(device, image, release(2, 1, { anchors }), [signers.project, next]);
    await expectNoWay(device, "chain-untrusted", 1);
  });

  test("does not go to one whose images are gone or altered", async () => {
    const device = await newDevice(signers);
    await apply(device, other, release(1));
    await apply(device, image, release(2));
    const digest = other.layer.descriptor.digest.slice("sha256:".length);
    await rm(join(device.places.state, "oci/blobs/sha256", digest));
    await expectNoWay(device, "not-found");
  });

  test("does not go to one that is not there, or back from the first", async () => {
    const device = await newDevice(signers);
    await expectNoWay(device, "generation-unknown");
    await apply(device, image, release(1));
    await expectNoWay(device, "generation-unknown");
    await expectNoWay(device, "generation-unknown", 7);
    expect(await history(await newDevice(signers))).toEqual([]);
  });
});
