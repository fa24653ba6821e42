// Signed files and sets in the initrd, on a device in a directory: what is installed, and what is said of it. The real
// boots are in test/machine/initrd.test.ts.
import { generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { readFilesRecord } from "../../src/agent/files-record.ts";
import { initrdFilesStage } from "../../src/agent/files-stage.ts";
import { levelStatus } from "../../src/agent/level-status.ts";
import type { Audience } from "../../src/signed-sets/audience.ts";
import { hasJournals } from "../../src/signed-sets/ledger.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { keys, makeTree, put, setPlace, treeOf } from "../unit/signed-sets/set-fixture.ts";
import { make } from "../unit/trust/authority.ts";
import { contextIn } from "./device-fixture.ts";

/** Of sets. */
const [fleetKey] = keys;
const { publicKey, privateKey } = generateKeyPairSync("ed25519");

async function place() {
  const directory = await temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  const where = {
    sets: path("sets"),
    apps: path("apps"),
    levels: { kept: path("levels"), image: path("image") },
    keys: [path("keys")],
    configurations: path("boot.d"),
    root: path("root"),
  };
  const places = { state: path("state"), run: path("run") };
  await mkdir(places.run);
  await mkdir(where.root);
  await put(path("keys"), { "fleet.pem": String(fleetKey?.export({ type: "spki", format: "pem" })) });
  await writeFile(path("secret.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  await writeFile(path("public.pem"), publicKey.export({ type: "spki", format: "pem" }));
  /** A configuration, and what it installs from a directory of the same name. */
  const config = async (
    name: string,
    signed?: Record<string, string>,
    unsigned: Record<string, string> = {},
  ) => {
    if (signed !== undefined) {
      await put(path(name), signed);
      const sign = ["src/main.ts", "validator", "sign", "-r", `--key=${path("secret.pem")}`, path(name)];
      await run(process.execPath, sign);
    }
    await put(path(name), unsigned);
    const text = `[install]\ndestination=${path("out")}\nsources=${path(name)}\nkeys=${path("public.pem")}\n`;
    await put(where.configurations, { [`${name}.conf`]: text });
  };
  const context = { ...contextIn(path("device")), places };
  return { path, where, places, context, config, stage: () => initrdFilesStage(context, where) };
}

describe("signed files in the initrd", () => {
  test("are installed, each configuration for itself, and what was not is said by its code", async () => {
    const at = await place();
    await at.config("a", { "a.container": "A" });
    await at.config("b", { "b.container": "B", "c.container": "C" }, { "d.container": "unsigned" });
    await rm(at.path("b/d.container.sig"), { force: true });
    await rm(at.path("none"), { recursive: true, force: true });
    await put(at.where.configurations, {
      "none.conf": `[install]\ndestination=${at.path("out")}\nsources=${at.path("none")}\nkeys=${at.path("public.pem")}\n`,
    });
    const record = await at.stage();
    expect(record).toMatchObject({
      outcome: "incomplete",
      configs: [
        { config: at.path("boot.d/a.conf"), outcome: "installed", written: 1, problems: [] },
        { outcome: "refused", written: 0, problems: [{ code: "signed-file-unsigned" }] },
        { outcome: "no-source", written: 0, problems: [{ code: "signed-source-missing" }] },
      ],
    });
    expect(await treeOf(at.path("out"))).toEqual({ "a.container": "A" });
    expect(readFilesRecord(at.places)).toEqual(record);
  });
  test("are found in their place by the next one", async () => {
    const at = await place();
    await at.config("a", { "a.container": "A" });
    expect(await at.stage()).toMatchObject({ outcome: "installed" });
    expect(await at.stage()).toMatchObject({ outcome: "unchanged", configs: [{ outcome: "unchanged" }] });
  });
  test("are left alone where the device's state is missing", async () => {
    const at = await place();
    await at.config("a", { "a.container": "A" });
    await writeFile(join(at.places.run, "initrd-state"), "missing device /dev/sda2\n");
    expect(await at.stage()).toMatchObject({
      outcome: "no-state",
      configs: [],
      problems: [{ code: "state-missing" }],
    });
    expect(await treeOf(at.path("out"))).toEqual({});
  });
  test("are none where a directory of configurations has something else in it", async () => {
    const at = await place();
    await at.config("a", { "a.container": "A" });
    await put(at.where.configurations, { "a.conf.bak": "" });
    expect(await at.stage()).toMatchObject({
      outcome: "incomplete",
      configs: [{ config: at.where.configurations, outcome: "refused" }],
    });
    expect(await treeOf(at.path("out"))).toEqual({});
  });
});

describe("sets in levels that the image brings", () => {
  async function withLevels(policy: object) {
    const at = await place();
    const [path = ""] = at.context.trust.policies;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, JSON.stringify({ version: 1, anchors: ["initrd"], ...policy }));
    const level = (name: string, files: Record<string, string>, audience: Audience) =>
      makeTree(join(at.where.levels.image, "quadlets", name), files, 1, { audience });
    await level("everybody", { a: "A", b: "B" }, { who: "everybody" });
    await level("kiosk", { b: "kiosk's" }, { who: "class", classes: ["kiosk"] });
    await level("m2", { a: "m2's" }, { who: "machine", machine: "m2" });
    return { ...at, installed: () => treeOf(join(at.where.root, "etc/quadlets")) };
  }
  test("are merged by the policy's classes and machine, and status says what is from where", async () => {
    const at = await withLevels({ machine: "m1", classes: ["kiosk"] });
    expect(await at.stage()).toMatchObject({
      outcome: "installed",
      levels: { restored: ["quadlets"], later: [] },
      problems: [],
    });
    expect(await at.installed()).toEqual({ a: "A", b: "kiosk's" });
    expect(await at.stage()).toMatchObject({ outcome: "unchanged", levels: { restored: [] } });
    expect(existsSync(join(at.places.run, "sets-done"))).toBe(true);
    const state = at.path("seen");
    await mkdir(state);
    await symlink(at.where.sets, join(state, "sets"));
    await symlink(at.where.levels.kept, join(state, "levels"));
    expect(await levelStatus({ places: { ...at.places, state } })).toEqual({
      sets: [
        {
          ...{ name: "quadlets", destination: "/etc/quadlets" },
          levels: [
            { level: "class:kiosk", serial: 1, source: "image", files: 1, paths: ["b"] },
            { level: "everybody", serial: 1, source: "image", files: 1, paths: ["a"] },
          ],
        },
      ],
    });
  });
  test("are those of the machine that the device's certificate names", async () => {
    const at = await withLevels({ classes: [] });
    const certificate = await make({ subject: [{ "2.5.4.5": ["PID:p SN:m2"] }, { CN: ["m2"] }] });
    await put(dirname(at.context.trust.deviceCertificates[0] ?? ""), { "server.crt": certificate.pem });
    expect(await at.stage()).toMatchObject({ outcome: "installed" });
    expect(await at.installed()).toEqual({ a: "m2's", b: "B" });
  });
  test.each([
    ["the device does not know which machine it is", { classes: ["kiosk"] }, "set-undecided"],
    ["its policy says nothing of classes", { machine: "m1" }, "set-undecided"],
    ["its policy cannot be read", { machine: "m 1" }, "policy-invalid"],
  ])("are refused where %s, and the boot says so", async (_, policy, code) => {
    const at = await withLevels(policy);
    expect(await at.stage()).toMatchObject({ outcome: "incomplete", problems: [{ code }] });
    expect(await at.installed()).toEqual({});
    expect(existsSync(join(at.places.run, "sets-done"))).toBe(false);
  });
  test("are left to the running system where their place cannot be written yet", async () => {
    const at = await withLevels({ machine: "m1", classes: [] });
    await mkdir(join(at.where.root, "etc"));
    const etc = join(at.where.root, "etc");
    await run("mount", ["--bind", etc, etc]);
    try {
      await run("mount", ["-o", "remount,bind,ro", etc]);
      expect(await at.stage()).toMatchObject({
        outcome: "incomplete",
        levels: { later: ["quadlets"] },
        problems: [],
      });
      expect(existsSync(join(at.places.run, "sets-done"))).toBe(false);
    } finally {
      await run("umount", [etc]);
    }
    expect(await at.stage()).toMatchObject({ outcome: "installed", levels: { restored: ["quadlets"] } });
  });
});

describe("a policy that wants signed files", () => {
  async function gateOf(
    signedFiles: string,
    change: (at: Awaited<ReturnType<typeof place>>) => Promise<unknown>,
  ) {
    const at = await place();
    await at.config("a", { "a.container": "A" });
    const [policy = ""] = at.context.trust.policies;
    await mkdir(dirname(policy), { recursive: true });
    await writeFile(policy, JSON.stringify({ version: 1, anchors: ["initrd"], signedFiles }));
    await change(at);
    await at.stage();
    return existsSync(join(at.places.run, "files-stop")) ? "closed" : "open";
  }
  const unsigned = (at: Awaited<ReturnType<typeof place>>) => put(at.path("a"), { "b.container": "B" });
  const stateless = ({ places }: Awaited<ReturnType<typeof place>>) =>
    writeFile(join(places.run, "initrd-state"), "missing device /dev/sda2\n");
  test.each([
    ["all are signed", "required", async () => undefined, "open"],
    ["nothing is there yet", "required", (at) => rm(at.path("a"), { recursive: true }), "open"],
    ["one is not signed", "required", unsigned, "closed"],
    ["the state is missing", "required", stateless, "closed"],
    ["one is not signed, and it may do without", "optional", unsigned, "open"],
  ] satisfies [string, string, (at: Awaited<ReturnType<typeof place>>) => Promise<unknown>, string][])(
    "lets the device boot on, or not, when %s",
    async (_, policy, change, gate) => {
      expect(await gateOf(policy, change)).toBe(gate);
    },
  );
});

describe("a signed set whose removal was interrupted", () => {
  test("is removed to its end, unless its file system cannot be written yet", async () => {
    const at = await place();
    const set = await setPlace();
    await set.install({ a: "A" }, 1);
    const ledger: object = JSON.parse(await readFile(join(set.state, "quadlets.json"), "utf8")) as object;
    const steps = [{ do: "remove", path: "a", staged: "0" }];
    const journal = { version: 1, phase: "apply", trial: false, steps, ledger: { ...ledger, entries: [] } };
    await writeFile(join(set.state, "quadlets.journal.json"), JSON.stringify(journal));
    await mkdir(set.path("root/etc/quadlets/.mos-set-quadlets"));
    const where = { ...at.where, sets: set.state, root: set.root };
    const etc = set.path("root/etc");
    await run("mount", ["--bind", etc, etc]);
    try {
      await run("mount", ["-o", "remount,bind,ro", etc]);
      expect(await initrdFilesStage(at.context, where)).toMatchObject({
        outcome: "unchanged",
        sets: [],
        problems: [],
      });
      expect(await hasJournals(set.state)).toBe(true);
    } finally {
      await run("umount", [etc]);
    }
    expect(await initrdFilesStage(at.context, where)).toMatchObject({
      outcome: "installed",
      sets: ["quadlets"],
    });
    expect(await set.installed()).toEqual({});
    expect(await hasJournals(set.state)).toBe(false);
  });
});
