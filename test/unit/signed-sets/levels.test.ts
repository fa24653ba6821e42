// Sets in levels: for everybody, for classes, for one machine; merged, and taken apart again.
import { chmod, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { LevelIdentity } from "../../../src/signed-sets/audience.ts";
import { installSet, listSets, removeSet } from "../../../src/signed-sets/install-set.ts";
import type { Ledger } from "../../../src/signed-sets/ledger.ts";
import { codeOf, everybody, levelPlace, m1, ofClass, ofMachine } from "./level-fixture.ts";
import { keys, makeTree, put } from "./set-fixture.ts";

const all = { a: "everybody's", b: "everybody's", c: "everybody's", "d/x": "everybody's" };

async function threeLevels() {
  const at = await levelPlace();
  // Not in the order in which they count.
  await at.level(ofMachine("m1"), { c: "m1's" });
  await at.level(everybody, all);
  await at.level(ofClass("lab"), { b: "lab's", c: "lab's" });
  await at.level(ofClass("kiosk"), { c: "kiosk's", d: "kiosk's" });
  return at;
}

describe("a set in levels", () => {
  test("is what the highest level says of each file, in whatever order they were installed", async () => {
    const at = await threeLevels();
    expect(await at.installed()).toEqual({ a: "everybody's", b: "lab's", c: "m1's", d: "kiosk's" });
    const [ledger] = await listSets(at.places);
    expect(ledger?.levels?.map((level) => [level.for, level.counts?.serial, level.paths])).toEqual([
      [ofClass("kiosk"), 1, ["d"]],
      [ofClass("lab"), 1, ["b"]],
      [everybody, 1, ["a"]],
      [ofMachine("m1"), 1, ["c"]],
    ]);
  });
  test("brings back what a level has hidden when the level goes, or lists it no longer", async () => {
    const at = await threeLevels();
    await at.level(ofMachine("m1"), { e: "m1's" }, 2);
    expect(await at.installed()).toMatchObject({ c: "kiosk's", e: "m1's" });
    expect(await at.remove("class:kiosk")).toMatchObject({ outcome: "removed" });
    expect(await at.installed()).toEqual({
      ...{ a: "everybody's", b: "lab's", c: "lab's", e: "m1's" },
      ...{ d: "/", "d/x": "everybody's" },
    });
    await at.remove();
    expect(await at.installed()).toEqual({});
    expect(await readdir(at.places.kept)).toEqual([]);
    expect(await codeOf(at.remove())).toBe("set-conflict");
  });
  test("for another machine or class is left alone", async () => {
    const at = await threeLevels();
    const before = await at.installed();
    for (const audience of [ofMachine("m2"), ofClass("desk", "server")]) {
      expect(await at.level(audience, { a: "another's" })).toMatchObject({ outcome: "left-alone" });
    }
    expect(await at.installed()).toEqual(before);
    expect(await readdir(at.places.kept)).toHaveLength(4);
  });
  test("for several classes counts as one for the last of them that the device has", async () => {
    const at = await levelPlace();
    await at.level(ofClass("lab"), { a: "lab's", b: "lab's" });
    await at.level(ofClass("aaa", "kiosk"), { a: "kiosk's" });
    expect(await at.installed()).toEqual({ a: "kiosk's", b: "lab's" });
    expect(await codeOf(at.level(ofClass("kiosk", "zzz"), { a: "?" }))).toBe("set-conflict");
    expect(await at.installed()).toEqual({ a: "kiosk's", b: "lab's" });
  });
  test.each([
    ["class", ofClass("kiosk"), { machine: "m1", classes: undefined }],
    ["machine", ofMachine("m1"), { machine: undefined, classes: ["kiosk"] }],
  ])(
    "for a %s is refused where the device does not know its own",
    async (_, audience, identity: LevelIdentity) => {
      const at = await levelPlace();
      await at.sign(audience, { a: "A" }, 1);
      expect(await codeOf(at.again(identity))).toBe("set-undecided");
      expect(await at.installed()).toEqual({});
    },
  );
  test("is nothing to do when it is there, and repaired when it was changed", async () => {
    const at = await threeLevels();
    expect(await at.again()).toMatchObject({ outcome: "unchanged" });
    await chmod(at.path("root/etc/quadlets/a"), 0o600);
    expect(await at.again()).toMatchObject({ outcome: "repaired", written: ["a"] });
  });
  test("takes a name and a directory of its own", async () => {
    const at = await threeLevels();
    await makeTree(at.path("plain"), { a: "A" }, 9);
    expect(await codeOf(installSet(at, at.path("plain"), keys, { force: true }))).toBe("set-conflict");
    await makeTree(at.path("plain"), { z: "Z" }, 1, { name: "plain" });
    await installSet(at, at.path("plain"), keys, { force: false });
    await at.sign(everybody, { y: "Y" }, 1, { name: "plain" });
    expect(await codeOf(at.again())).toBe("set-conflict");
    await at.sign(ofMachine("m1"), { z: "Y" }, 2);
    expect(await codeOf(at.again())).toBe("set-conflict");
    await at.sign(ofMachine("m1"), { y: "Y" }, 2, { destination: "/etc/elsewhere" });
    expect(await codeOf(at.again())).toBe("set-conflict");
    expect(await codeOf(removeSet(at, "quadlets"))).toBe("set-conflict");
    expect(await codeOf(installSet(at, at.path("set"), keys, { force: false }))).toBe("set-invalid");
  });
  test("replaces no file of others without being told to, and takes nothing of what it cannot have", async () => {
    const at = await levelPlace();
    await put(at.path("root/etc/quadlets"), { a: "theirs" });
    expect(await codeOf(at.level(everybody, { a: "A" }))).toBe("set-conflict");
    expect(await readdir(at.places.kept)).toEqual([]);
    expect(await at.again(m1, true)).toMatchObject({ outcome: "installed" });
  });
  test("refuses links that the merge would lead elsewhere", async () => {
    const at = await levelPlace();
    await at.level(everybody, { "d/x": "X", l: { to: "d/x" } });
    expect(await codeOf(at.level(ofMachine("m1"), { d: "a file" }))).toBe("set-invalid");
    expect(await at.installed()).toMatchObject({ "d/x": "X" });
  });
});

describe("what was signed before", () => {
  test("is refused level by level", async () => {
    const at = await levelPlace();
    await at.level(everybody, { a: "5" }, 5);
    await at.level(ofMachine("m1"), { b: "2" }, 2);
    expect(await codeOf(at.level(everybody, { a: "4" }, 4))).toBe("set-older");
    expect(await codeOf(at.level(everybody, { a: "other" }, 5))).toBe("set-older");
    expect(await at.level(ofMachine("m1"), { b: "3" }, 3)).toMatchObject({ outcome: "installed" });
  });
  test("is refused after the level was removed too, and also when the image has an older one", async () => {
    const at = await levelPlace();
    await at.ofImage(ofMachine("m1"), { a: "2" }, 2, "machine");
    await at.level(ofMachine("m1"), { a: "7" }, 7);
    await at.remove("machine:m1");
    expect(await at.installed()).toEqual({ a: "2" });
    await at.boot();
    expect(await codeOf(at.level(ofMachine("m1"), { a: "6" }, 6))).toBe("set-older");
    expect(await codeOf(at.remove("machine:m1"))).toBe("set-conflict");
  });
  test("cannot be of another machine, nor signed by somebody else", async () => {
    const at = await levelPlace();
    await at.sign(ofMachine("m2"), { a: "m2's" }, 9);
    const list = at.path("set/.mos-set.json");
    await writeFile(list, (await readFile(list, "utf8")).replace('"m2"', '"m1"'));
    expect(await codeOf(at.again())).toBe("signed-file-invalid");
  });
});

describe("a boot", () => {
  test("brings what the image has for this device, and for another device something else", async () => {
    const at = await levelPlace();
    await at.ofImage(everybody, all, 1, "everybody");
    await at.ofImage(ofClass("kiosk"), { a: "kiosk's" }, 1, "kiosk");
    await at.ofImage(ofMachine("m2"), { a: "m2's" }, 1, "m2");
    await put(at.path("root/etc/quadlets"), { b: "of the image" });
    expect(await at.boot()).toEqual({ restored: ["quadlets"], later: [], failed: [] });
    expect(await at.installed()).toMatchObject({ a: "kiosk's", b: "everybody's" });
    expect(await at.boot()).toEqual({ restored: [], later: [], failed: [] });
    // The same disk in another machine.
    expect(await at.boot({ machine: "m2", classes: [] })).toMatchObject({ restored: ["quadlets"] });
    expect(await at.installed()).toMatchObject({ a: "m2's", b: "everybody's" });
  });
  test("brings everything again where /etc begins anew", async () => {
    const at = await threeLevels();
    const before = await at.installed();
    await rm(at.path("root/etc"), { recursive: true });
    expect(await at.boot()).toMatchObject({ restored: ["quadlets"] });
    expect(await at.installed()).toEqual(before);
  });
  test("takes the newer one of image and device, and goes back with the image", async () => {
    const at = await levelPlace();
    await at.ofImage(everybody, { a: "3" }, 3, "everybody");
    await at.level(everybody, { a: "4" }, 4);
    expect(await at.installed()).toEqual({ a: "4" });
    await at.ofImage(everybody, { a: "5" }, 5, "everybody");
    await at.boot();
    expect(await at.installed()).toEqual({ a: "5" });
    expect(await codeOf(at.level(everybody, { a: "4, signed again" }, 4))).toBe("set-older");
    await at.ofImage(everybody, { a: "3" }, 3, "everybody");
    await at.boot();
    expect(await at.installed()).toEqual({ a: "4" });
    await rm(join(at.places.image, "quadlets"), { recursive: true });
    await at.boot();
    expect(await at.installed()).toEqual({ a: "4" });
  });
  test("forgets what only an image has brought once that is gone", async () => {
    const at = await levelPlace();
    await at.ofImage(everybody, { a: "3" }, 3, "everybody");
    await at.boot();
    await rm(join(at.places.image, "quadlets"), { recursive: true });
    expect(await at.boot()).toMatchObject({ restored: ["quadlets"] });
    expect(await at.installed()).toEqual({});
  });
  test.each([
    ["one of them was changed", (list: string) => writeFile(list, "{}"), "signed-file-invalid"],
    ["one of them is gone", (list: string) => rm(list), "set-invalid"],
  ])("changes nothing of a set when %s, and brings the others", async (_, damage, code) => {
    const at = await threeLevels();
    const before = await at.installed();
    const [one = ""] = await readdir(at.places.kept);
    await damage(join(at.places.kept, one, ".mos-set.json"));
    await makeTree(join(at.places.image, "other/everybody"), { o: "O" }, 1, {
      ...{ name: "other", destination: "/etc/other", audience: everybody },
    });
    const { restored, failed } = await at.boot();
    expect(restored).toEqual(["other"]);
    expect(failed.map(({ name, error }) => [name, error.code])).toEqual([["quadlets", code]]);
    expect(await at.installed()).toEqual(before);
  });
  test("removes nothing that only the ledger says was installed, which who has the disk can write", async () => {
    const at = await threeLevels();
    await put(at.path("root/etc/quadlets"), { theirs: "T" });
    const path = join(at.places.state, "quadlets.json");
    const ledger = JSON.parse(await readFile(path, "utf8")) as Ledger;
    const theirs = { ...ledger.entries.find(({ path: one }) => one === "a"), path: "theirs" };
    const forge = (change: object) => writeFile(path, JSON.stringify({ ...ledger, ...change }));
    await forge({ entries: [...ledger.entries, theirs] });
    expect(await at.boot()).toMatchObject({ failed: [] });
    expect(await at.installed()).toMatchObject({ theirs: "T", a: "everybody's" });
    // And with levels that are of no list here: all of them are gone, and with them what they say to have installed.
    const digest = "0".repeat(128);
    const counts = { serial: 1, manifest: digest, source: "image" };
    const levels = [{ for: everybody, counts, paths: ["theirs"] }];
    await forge({ name: "forged", entries: [theirs], levels });
    await rename(path, join(at.places.state, "forged.json"));
    expect(await at.boot()).toMatchObject({ failed: [] });
    expect(await at.installed()).toMatchObject({ theirs: "T", a: "everybody's" });
  });
  test("removes nothing but levels where a link to another directory was planted, and what a power cut left", async () => {
    const at = await threeLevels();
    await put(at.path("root/etc/victim"), { a: "A", ".b": "B" });
    const left = `.${"a".repeat(128)}.new`;
    await put(at.path("root/etc/victim"), { [`${left}/x`]: "X", [`${"b".repeat(128)}/y`]: "Y" });
    await rename(at.places.kept, at.path("elsewhere"));
    await symlink(at.path("root/etc/victim"), at.places.kept);
    expect((await at.boot()).failed.map(({ error }) => error.code)).toEqual(["set-invalid"]);
    expect((await readdir(at.path("root/etc/victim"))).sort()).toEqual([".b", "a"]);
  });
  test("refuses a level of the image whose files are not those that were signed", async () => {
    const at = await levelPlace();
    await at.ofImage(everybody, { a: "A", b: "B" }, 1, "everybody");
    await writeFile(join(at.places.image, "quadlets/everybody/a"), "X");
    expect((await at.boot()).failed.map(({ error }) => error.code)).toEqual(["set-mixed"]);
    expect(await at.installed()).toEqual({});
  });
  test("refuses sets that the image brings without saying for whom, and under another name", async () => {
    const at = await levelPlace();
    await makeTree(join(at.places.image, "quadlets/plain"), { a: "A" }, 1);
    await makeTree(join(at.places.image, "moved/everybody"), { a: "A" }, 1, { audience: everybody });
    const { failed } = await at.boot();
    expect(failed.map(({ name, error }) => [name, error.code])).toEqual([
      ["moved", "set-invalid"],
      ["quadlets", "set-invalid"],
    ]);
  });
});
