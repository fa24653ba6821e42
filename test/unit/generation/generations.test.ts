import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  addGeneration,
  listGenerations,
  makeCurrent,
  pointedGeneration,
  readGeneration,
} from "../../../src/generation/generations.ts";
import { ensureIdMaps, parseSubordinateIds, readIdMaps } from "../../../src/generation/idmaps.ts";
import { idmapsPath } from "../../../src/generation/places.ts";
import type { Places } from "../../../src/services/unit-names.ts";
import { temporaryDirectory } from "../../support.ts";

async function places(): Promise<Places> {
  const root = await temporaryDirectory();
  await mkdir(join(root, "state"));
  return { state: join(root, "state"), run: join(root, "run") };
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const pair = (text: string) => ({ signature: bytes(`sig ${text}`), certificates: bytes(`pem ${text}`) });
const parts = { manifest: bytes("{}"), signatures: [pair("one")], bases: [] };
const record = {
  version: 1,
  reference: "oci:x:y",
  acceptedAt: "2026-01-01T00:00:00Z",
  trustRecords: 0,
} as const;

describe("generations on disk", () => {
  it("are numbered upwards and read back byte for byte", async () => {
    const here = await places();
    expect(await addGeneration(here, parts, record)).toBe(1);
    expect(await addGeneration(here, { ...parts, manifest: bytes("2") }, record)).toBe(2);
    expect(await listGenerations(here)).toEqual([1, 2]);
    const read = await readGeneration(here, 2);
    expect(Buffer.from(read.manifest).toString()).toBe("2");
    expect(read.record).toEqual(record);
  });

  it("keep every signature with its certificates, in order", async () => {
    const here = await places();
    const signatures = [pair("one"), pair("two"), pair("three")];
    await addGeneration(here, { ...parts, signatures }, record);
    const read = await readGeneration(here, 1);
    expect(read.signatures.map(({ signature }) => Buffer.from(signature).toString())).toEqual([
      ...["sig one", "sig two", "sig three"],
    ]);
    expect(Buffer.from(read.signatures[2]?.certificates ?? []).toString()).toBe("pem three");
  });

  it("written before there were handovers have none", async () => {
    const here = await places();
    const { trustRecords: _, ...older } = record;
    await addGeneration(here, parts, record);
    await writeFile(join(here.state, "generations/1/generation.json"), JSON.stringify(older));
    expect((await readGeneration(here, 1)).record.trustRecords).toBe(0);
  });

  it("run only once they are current, and the one before is remembered", async () => {
    const here = await places();
    for (const expected of [1, 2]) {
      expect(await pointedGeneration(here, "current")).toBe(expected === 1 ? undefined : expected - 1);
      await makeCurrent(here, await addGeneration(here, parts, record));
      expect(await pointedGeneration(here, "current")).toBe(expected);
    }
    expect(await pointedGeneration(here, "previous")).toBe(1);
  });

  it("keep the one before when the current one is made current again", async () => {
    const here = await places();
    await addGeneration(here, parts, record);
    await addGeneration(here, parts, record);
    await makeCurrent(here, 1);
    await makeCurrent(here, 2);
    await makeCurrent(here, 2);
    expect(await pointedGeneration(here, "previous")).toBe(1);
  });

  it("survive what a power cut leaves behind: a half-written generation is replaced", async () => {
    const here = await places();
    await mkdir(join(here.state, "generations", ".1.tmp"), { recursive: true });
    await writeFile(join(here.state, "generations", ".1.tmp", "install.json"), "half");
    expect(await addGeneration(here, parts, record)).toBe(1);
    expect(await readdir(join(here.state, "generations"))).toEqual(["1"]);
  });

  it.each(["/etc", "generations/../../etc", "generations/01", "elsewhere/1"])(
    "a planted pointer to %s is refused",
    async (target) => {
      const here = await places();
      await symlink(target, join(here.state, "current"));
      await expect(pointedGeneration(here, "current")).rejects.toMatchObject({ code: "state-invalid" });
    },
  );

  it("a file in place of a pointer is refused, and named", async () => {
    const here = await places();
    await writeFile(join(here.state, "current"), "generations/1");
    await expect(pointedGeneration(here, "current")).rejects.toMatchObject({
      ...{ code: "state-invalid", about: join(here.state, "current") },
    });
  });

  it.each(["install.json", "install.json.signed", "cert.pem", "generation.json"])(
    "a file that is gone is named: %s",
    async (name) => {
      const here = await places();
      await addGeneration(here, parts, record);
      const { rm } = await import("node:fs/promises");
      await rm(join(here.state, "generations/1", name));
      await expect(readGeneration(here, 1)).rejects.toMatchObject({ code: "state-invalid" });
    },
  );
});

describe("uid ranges on disk", () => {
  it("stay the same over any number of updates", async () => {
    const here = await places();
    const first = await ensureIdMaps(here, ["a", "b"]);
    const second = await ensureIdMaps(here, ["c", "b"]);
    expect(second.get("a")).toBe(first.get("a"));
    expect(await readIdMaps(here)).toEqual(second);
    const before = await readFile(idmapsPath(here));
    await ensureIdMaps(here, ["a", "c"]);
    expect(await readFile(idmapsPath(here))).toEqual(before);
  });

  it.each([
    ["truncated", '{"version":1,"maps":[', "state-invalid"],
    ["empty", "", "state-invalid"],
    ["of a later version", '{"version":2,"maps":[]}', "state-newer"],
    ["with the host's own root", '{"version":1,"maps":[{"nsgroup":"a","hostid":0}]}', "state-invalid"],
  ])("a file that is %s is refused", async (_what, content, code) => {
    const here = await places();
    await writeFile(idmapsPath(here), content);
    await expect(readIdMaps(here)).rejects.toMatchObject({ code });
  });

  it("a file with overlapping ranges is refused: groups could read each other's files", async () => {
    const here = await places();
    const maps = [
      { nsgroup: "a", hostid: 100_000 },
      { nsgroup: "b", hostid: 100_001 },
    ];
    await writeFile(idmapsPath(here), JSON.stringify({ version: 1, maps }));
    await expect(readIdMaps(here)).rejects.toMatchObject({ code: "state-invalid" });
  });

  it("reads subordinate ids of users", () => {
    expect(parseSubordinateIds("alice:100000:65536\n# x\nbob:1:x\n")).toEqual([
      { first: 100_000, length: 65_536 },
    ]);
  });
});
