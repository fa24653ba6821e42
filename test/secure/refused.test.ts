// What must not start: attacks A25 and A28, and the chain from the firmware's keys to the root file system. Each is
// seen on the console, and the machine is then switched off.
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addKeyset } from "../../src/trust/keyset.ts";
import { alteredRoot, alteredRootWithTree, contentOf, superblock } from "./altered-root.ts";
import { Factory, type Parts } from "./harness.ts";

let factory: Factory;
let parts: Omit<Parts, "bootDisk">;
let good: string;
beforeAll(async () => {
  factory = await Factory.create();
  await factory.approve();
  parts = {
    stateDisk: await factory.stateDisk("state.img"),
    variables: await factory.variables("variables.fd"),
    tpmState: await factory.tpm("tpm"),
  };
  const files = await factory.trustFiles({ anchors: ["efi-db"], product: factory.product, tpm: "required" });
  good = await factory.uki("good.efi", { signer: factory.key("uki-production"), files });
}, 900_000);
afterAll(() => factory.dispose());

const accessDenied = /Access Denied/;
const poweredOff = /Failed to start .*mos-initrd[\s\S]*Power down/;

/** What the running system's own manager says first. */
const switchedRoot = "Welcome to";

/** A copy of a file in which one text stands for another of the same length. */
async function altered(name: string, from: string, to: string): Promise<string> {
  const bytes = await readFile(good);
  const at = bytes.indexOf(from, 0, "latin1");
  if (at < 0 || from.length !== to.length) throw new Error(`there is no ${from} to alter`);
  bytes.write(to, at, "latin1");
  const path = factory.path(name);
  await writeFile(path, bytes);
  return path;
}

describe("the firmware does not start", () => {
  test("a UKI that nobody has signed", async () => {
    const uki = await factory.uki("unsigned.efi", { signer: undefined });
    await factory.refusal("unsigned", { ...parts, bootDisk: await factory.bootDisk(uki) }, accessDenied);
  });

  test("a UKI that a key of another keyset has signed", async () => {
    await addKeyset({ root: factory.keysets, name: "other", organizations: [], keyType: "p256" });
    const uki = await factory.uki("other.efi", { signer: factory.path("keys/other/uki-production") });
    await factory.refusal("other-key", { ...parts, bootDisk: await factory.bootDisk(uki) }, accessDenied);
  });

  test("a UKI with another command line than was signed", async () => {
    const uki = await altered("command.efi", "panic=5", "panic=0");
    await factory.refusal("command-line", { ...parts, bootDisk: await factory.bootDisk(uki) }, accessDenied);
  });
});

describe("the initrd does not go on", () => {
  test("on a machine whose TPM is another one, or was cleared, where the policy requires its own (A28)", async () => {
    const console = await factory.refusal(
      "new-tpm",
      { ...parts, bootDisk: await factory.bootDisk(good) },
      poweredOff,
    );
    expect(console).toContain("tpm-unprovisioned");
  });

  test("on a machine without a TPM, where the policy requires one (F15)", async () => {
    const bootDisk = await factory.bootDisk(good);
    const console = await factory.refusal("no-tpm", { ...parts, tpmState: undefined, bootDisk }, poweredOff);
    expect(console).toContain("tpm-missing");
  });

  test.each([
    ["its superblock", superblock],
    ["the program that would take the secrets", "/usr/bin/mos"],
  ])("from a root file system with an altered block in %s (A25)", async (_, place) => {
    const at = typeof place === "number" ? place : await contentOf(factory, place);
    const rootDisk = await alteredRoot(factory, "altered.img", at);
    const bootDisk = await factory.bootDisk(good);
    const refused = /data block \d+ is corrupted[\s\S]*Power down/;
    const console = await factory.refusal("root-block", { ...parts, rootDisk, bootDisk }, refused, 400_000);
    expect(console).not.toContain(switchedRoot);
  });

  test("from another root file system, whose hash tree fits it and whose partitions have the right names (A25)", async () => {
    const rootDisk = await alteredRootWithTree(
      factory,
      "other.img",
      await contentOf(factory, "/usr/bin/mos"),
    );
    const bootDisk = await factory.bootDisk(good);
    const refused = /metadata block \d+ is corrupted[\s\S]*Power down/;
    const console = await factory.refusal("other-root", { ...parts, rootDisk, bootDisk }, refused, 400_000);
    expect(console).not.toContain(switchedRoot);
  });
});
