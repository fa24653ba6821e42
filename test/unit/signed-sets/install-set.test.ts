// Signed sets: installed whole, replaced whole, and removed whole.
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { installSet, listSets, recoverSets, removeSet } from "../../../src/signed-sets/install-set.ts";
import { keys, makeTree, put, setPlace } from "./set-fixture.ts";

const first = { "web.container": "[Container]\nImage=a\n", "d/x": "X", "d/l": { to: "../web.container" } };

describe("a signed set", () => {
  test("is installed with its modes, links and directories, and its list stays behind", async () => {
    const at = await setPlace();
    expect(await at.install(first, 1)).toMatchObject({ outcome: "installed", serial: 1 });
    expect(await at.installed()).toEqual({
      d: "/",
      "d/l": "-> ../web.container",
      "d/x": "X",
      "web.container": first["web.container"],
    });
    await makeTree(at.path("set"), { run: "#!" }, 2);
  });
  test("keeps the bits that make a file a program", async () => {
    const at = await setPlace();
    await makeTree(at.path("set"), { run: "#!" }, 1);
    await chmod(at.path("set/run"), 0o755);
    const { makeSet } = await import("../../../src/signed-sets/make-set.ts");
    const { generateKeyPairSync } = await import("node:crypto");
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    await makeSet(at.path("set"), { name: "s", serial: 1, destination: "/opt/s", ...owner }, privateKey);
    await installSet(at, at.path("set"), [publicKey], { force: false });
    expect((await stat(at.path("root/opt/s/run"))).mode & 0o777).toBe(0o755);
  });
  test("that is installed is nothing to do", async () => {
    const at = await setPlace();
    await at.install(first, 1);
    const before = await stat(at.path("root/etc/quadlets/web.container"));
    expect(await at.again()).toMatchObject({ outcome: "unchanged", written: [], removed: [] });
    expect((await stat(at.path("root/etc/quadlets/web.container"))).ino).toBe(before.ino);
  });
  test("replaces what changed, keeps what did not, and removes what is no longer listed", async () => {
    const at = await setPlace();
    await at.install({ ...first, same: "S" }, 1);
    const before = await stat(at.path("root/etc/quadlets/same"));
    const done = await at.install({ same: "S", "web.container": "[Container]\nImage=b\n", new: "N" }, 2);
    expect(done).toMatchObject({ outcome: "installed", removed: ["d/x", "d/l", "d"] });
    expect(await at.installed()).toEqual({ new: "N", same: "S", "web.container": "[Container]\nImage=b\n" });
    expect((await stat(at.path("root/etc/quadlets/same"))).ino).toBe(before.ino);
  });
  test("leaves what others put beside its files, and their directory with them", async () => {
    const at = await setPlace();
    await at.install(first, 1);
    await put(at.path("root/etc/quadlets"), { "d/theirs": "T", mine: "M" });
    await at.install({ x: "X" }, 2);
    expect(await at.installed()).toEqual({ d: "/", "d/theirs": "T", mine: "M", x: "X" });
  });
  test("is repaired where its files were changed or lost", async () => {
    const at = await setPlace();
    await at.install(first, 1);
    await writeFile(at.path("root/etc/quadlets/web.container"), "changed");
    await chmod(at.path("root/etc/quadlets/d/x"), 0o666);
    expect(await at.again()).toMatchObject({ outcome: "repaired", written: ["d/x", "web.container"] });
    expect(await at.installed()).toMatchObject(
      Object.fromEntries([
        ["web.container", first["web.container"]],
        ["d/x", "X"],
      ]),
    );
    expect((await stat(at.path("root/etc/quadlets/d/x"))).mode & 0o777).toBe(0o644);
  });
  test("can make a directory of a file, a file of a directory and a link of either", async () => {
    const at = await setPlace();
    await at.install({ a: "A", "b/c": "C", l: { to: "a" } }, 1);
    await at.install({ "a/x": "X", b: "B", "l/y": "Y" }, 2);
    expect(await at.installed()).toEqual({ a: "/", "a/x": "X", b: "B", l: "/", "l/y": "Y" });
    await at.install({ a: "A", "b/c": "C", l: { to: "a" } }, 3);
    expect(await at.installed()).toEqual({ a: "A", b: "/", "b/c": "C", l: "-> a" });
  });
  test("that cannot be put in the place of what others have goes back to what was", async () => {
    const at = await setPlace();
    await at.install({ "a/mine": "1", z: "old" }, 1);
    await put(at.path("root/etc/quadlets"), { "a/theirs": "T" });
    await makeTree(at.path("set"), { a: "now a file", z: "new" }, 2);
    await expect(at.again()).rejects.toThrow();
    expect(await at.installed()).toEqual({ a: "/", "a/mine": "1", "a/theirs": "T", z: "old" });
    expect(await readdir(at.state)).not.toContain("quadlets.journal.json");
  });
  test("does not replace what never belonged to it, unless it is forced", async () => {
    const at = await setPlace();
    await put(at.path("root/etc/quadlets"), { "web.container": "mine" });
    await makeTree(at.path("set"), first, 1);
    expect(await at.refusal()).toBe("set-conflict");
    expect(await at.installed()).toEqual({ "web.container": "mine" });
    expect(await at.again("set", true)).toMatchObject({ outcome: "installed" });
    expect(await at.installed()).toHaveProperty("web.container", first["web.container"]);
  });
  test("takes over what is there and the same", async () => {
    const at = await setPlace();
    await put(at.path("root/etc/quadlets"), { x: "X" });
    await chmod(at.path("root/etc/quadlets/x"), 0o644);
    expect(await at.install({ x: "X" }, 1)).toMatchObject({ outcome: "installed", written: [] });
    await removeSet(at, "quadlets");
    expect(await at.installed()).toEqual({});
  });
  test("is removed, and what is older stays out all the same", async () => {
    const at = await setPlace();
    await at.install(first, 2);
    await put(at.path("root/etc/quadlets"), { mine: "M" });
    expect(await listSets(at)).toHaveLength(1);
    expect(await removeSet(at, "quadlets")).toMatchObject({ outcome: "removed" });
    expect(await at.installed()).toEqual({ mine: "M" });
    expect(await listSets(at)).toEqual([]);
    await makeTree(at.path("set"), first, 1);
    expect(await at.refusal()).toBe("set-older");
    expect(await removeSet(at, "quadlets")).toMatchObject({ outcome: "unchanged" });
    await expect(removeSet(at, "unknown")).rejects.toMatchObject({ code: "set-conflict" });
  });
  test("does not share a file with another set, nor move while it is installed", async () => {
    const at = await setPlace();
    await at.install(first, 1);
    await makeTree(at.path("other"), { x: "X" }, 1, { name: "other", destination: "/etc/quadlets/d" });
    expect(await at.refusal("other")).toBe("set-conflict");
    await makeTree(at.path("moved"), first, 2, { destination: "/etc/elsewhere" });
    expect(await at.refusal("moved")).toBe("set-conflict");
    await removeSet(at, "quadlets");
    expect(await at.again("moved")).toMatchObject({ destination: "/etc/elsewhere" });
  });
  test("leaves nothing of its making in the destination", async () => {
    const at = await setPlace();
    await at.install(first, 1);
    await mkdir(at.path("root/etc/quadlets/.mos-set-quadlets"));
    await at.install({ ...first, n: "N" }, 2);
    expect((await readdir(at.path("root/etc/quadlets"))).sort()).toEqual(["d", "n", "web.container"]);
    expect((await readdir(at.state)).sort()).toEqual([".lock", "quadlets.json"]);
    expect(await recoverSets(at)).toEqual([]);
  });
  test("has the same list and signature when it is signed again", async () => {
    const at = await setPlace();
    const read = async () => [
      await readFile(at.path("set/.mos-set.json"), "utf8"),
      await readFile(at.path("set/.mos-set.json.sig"), "hex"),
    ];
    await makeTree(at.path("set"), first, 1);
    const once = await read();
    await makeTree(at.path("set"), first, 1);
    expect(await read()).toEqual(once);
    expect(await installSet(at, at.path("set"), keys, { force: false })).toMatchObject({
      outcome: "installed",
    });
  });
});
