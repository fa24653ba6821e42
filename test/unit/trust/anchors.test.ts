import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { type FirmwareAnchors, loadAnchors } from "../../../src/trust/anchors.ts";
import type { AnchorSource } from "../../../src/trust/policy.ts";
import { make } from "./authority.ts";
import { anchorsOf, noFirmware } from "./roots.ts";

const execute = promisify(execFile);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "anchors-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);
const source = (name: string): `file:${string}` => `file:${path(name)}`;
const code = (error: string) => expect.objectContaining({ code: error });

describe("trust anchors", () => {
  test("come from every file that is there, in the order of the policy, with their source", async () => {
    const [first, second] = await Promise.all([
      make({ ca: true, subject: "CN=A" }),
      make({ ca: true, subject: "CN=B" }),
    ]);
    await writeFile(path("one.pem"), second.pem);
    await writeFile(path("two.pem"), first.pem + second.pem);
    const anchors = await anchorsOf(source("absent.pem"), source("one.pem"), source("two.pem"));
    expect(anchors.certificates.map((anchor) => [anchor.source, anchor.certificate.subject.text])).toEqual([
      [source("one.pem"), "CN=B"],
      [source("two.pem"), "CN=A"],
    ]);
  });

  test("are missed by name when there is none", async () => {
    await expect(anchorsOf(source("a.pem"), source("b.pem"))).rejects.toEqual(code("anchor-missing"));
    await expect(anchorsOf()).rejects.toEqual(code("anchor-missing"));
  });

  test.each<[string, () => Promise<unknown>]>([
    ["is empty", () => writeFile(path("ca.pem"), "")],
    ["holds no PEM", () => writeFile(path("ca.pem"), "hello")],
    ["holds a certificate that is no CA", async () => writeFile(path("ca.pem"), (await make({})).pem)],
    ["is too large", () => writeFile(path("ca.pem"), "\n".repeat(70_000))],
    ["is a pipe that nobody writes to", () => execute("mkfifo", [path("ca.pem")])],
    ["is a directory", () => mkdir(path("ca.pem"))],
  ])("stop everything when a file %s, even if another is good", async (_, prepare) => {
    await prepare();
    await writeFile(path("good.pem"), (await make({ ca: true })).pem);
    await expect(anchorsOf(source("ca.pem"), source("good.pem"))).rejects.toEqual(code("anchor-invalid"));
  });
});

describe("anchors that are not a file of this system", () => {
  const load = (sources: readonly AnchorSource[], firmware: Partial<FirmwareAnchors> = {}) =>
    loadAnchors(sources, { initrd: directory, firmware: { ...noFirmware, ...firmware } });

  test("come from the initrd", async () => {
    await writeFile(path("manifestCA.pem"), (await make({ ca: true })).pem);
    const { certificates } = await load(["initrd"]);
    expect(certificates.map((anchor) => anchor.source)).toEqual(["initrd"]);
  });

  test("come from db, where certificates that are no CA and strange ones do not count", async () => {
    const [ca, program] = await Promise.all([make({ ca: true }), make({})]);
    const db = [program.der, Buffer.from("what a vendor put there"), ca.der];
    const { certificates } = await load(["efi-db"], { efiDb: async () => db });
    expect(certificates.map((anchor) => anchor.certificate.subject.text)).toEqual(["CN=Root"]);
  });

  test("do not come from a db that Secure Boot does not protect", async () => {
    await writeFile(path("manifestCA.pem"), (await make({ ca: true })).pem);
    const efiDb = async () => {
      throw new MosError("anchor-unverified", "Secure Boot is off");
    };
    await expect(load(["efi-db", "initrd"], { efiDb })).rejects.toEqual(code("anchor-unverified"));
  });

  test("come from a TPM: a certificate as PEM or DER, or the hash of a key", async () => {
    const ca = await make({ ca: true });
    const content = new Map<number, Uint8Array>([
      [0x1500063, Buffer.from(ca.pem)],
      [0x1500064, ca.der],
      [0x1500065, Buffer.alloc(32, 7)],
    ]);
    const tpmNv = async (index: number) => content.get(index);
    const { certificates, pins } = await load(
      ["tpm-nv:0x01500062", "tpm-nv:0x01500063", "tpm-nv:0x01500064", "tpm-nv:0x01500065"],
      { tpmNv },
    );
    expect(certificates.map(({ source: from }) => from)).toEqual(["tpm-nv:0x01500063"]);
    expect(pins).toEqual([{ keyId: "07".repeat(32), source: "tpm-nv:0x01500065" }]);
  });

  test.each<[string, Uint8Array]>([
    ["nothing", Buffer.alloc(0)],
    ["a hash of another length", Buffer.alloc(31)],
    ["garbage", Buffer.from("-----garbage")],
  ])("do not come from a TPM that holds %s", async (_, content) => {
    const tpmNv = async () => content;
    await expect(load(["tpm-nv:0x01500063"], { tpmNv })).rejects.toEqual(code("anchor-invalid"));
  });
});
