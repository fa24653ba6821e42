// What signed files allow and signed sets do not: replay, deletion, mixing, links, other destinations. A01, A02, A06,
// A07, A13, A19, A21.
import { generateKeyPairSync } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { describe, expect, test, vi } from "vitest";
import { makeSignature } from "../../../src/signed-files/signature-file.ts";
import { blobOfManifest } from "../../../src/signed-sets/read-set.ts";
import { makeTree, put, setPlace, treeOf } from "./set-fixture.ts";

const files = { "web.container": "new\n", "d/x": "X", l: { to: "d/x" } };

/** Serial 1 is installed and kept in `old`; serial 2 is in `set`. */
async function twoReleases() {
  const at = await setPlace();
  await makeTree(at.path("old"), { "web.container": "old\n", "d/x": "X" }, 1);
  await at.again("old");
  await makeTree(at.path("set"), files, 2);
  const before = await at.installed();
  return { ...at, unchanged: async () => expect(await at.installed()).toEqual(before) };
}

describe("refused, with nothing changed:", () => {
  test("an older release, whole and signed", async () => {
    const at = await twoReleases();
    await at.again();
    expect(await at.refusal("old")).toBe("set-older");
    expect(await at.installed()).toHaveProperty("web.container", "new\n");
  });
  test("another release of the same serial", async () => {
    const at = await twoReleases();
    await makeTree(at.path("set"), files, 1);
    expect(await at.refusal()).toBe("set-older");
    await at.unchanged();
  });
  test("a file of an older release, with what was its signature", async () => {
    const at = await twoReleases();
    await cp(at.path("old/web.container"), at.path("set/web.container"));
    expect(await at.refusal()).toBe("set-mixed");
    await at.unchanged();
  });
  test("other content of the same length", async () => {
    const at = await twoReleases();
    await writeFile(at.path("set/web.container"), "NEW\n");
    expect(await at.refusal()).toBe("set-mixed");
    await at.unchanged();
  });
  test("other content of a file that is in its place already", async () => {
    const at = await twoReleases();
    await writeFile(at.path("set/d/x"), "Y");
    expect(await at.refusal()).toBe("set-mixed");
    await at.unchanged();
  });
  test("the files of one release with the list of another", async () => {
    const at = await twoReleases();
    for (const name of [".mos-set.json", ".mos-set.json.sig"])
      await cp(at.path(`set/${name}`), at.path(`old/${name}`));
    expect(await at.refusal("old")).toBe("set-mixed");
    await at.unchanged();
  });
  test("the list of one release with the signature of another", async () => {
    const at = await twoReleases();
    await cp(at.path("old/.mos-set.json.sig"), at.path("set/.mos-set.json.sig"));
    expect(await at.refusal()).toBe("signed-file-invalid");
    await at.unchanged();
  });
  test.each([
    ["a missing file", (at: (name: string) => string) => rm(at("set/d/x"))],
    ["a missing directory", (at: (name: string) => string) => rm(at("set/d"), { recursive: true })],
    ["a file more", (at: (name: string) => string) => writeFile(at("set/more"), "")],
    ["a directory more", (at: (name: string) => string) => mkdir(at("set/more"))],
    ["a shorter file", (at: (name: string) => string) => truncate(at("set/web.container"), 1)],
    ["an endless file", (at: (name: string) => string) => truncate(at("set/web.container"), 1 << 30)],
    [
      "a link in the place of a file",
      async (at: (name: string) => string) => {
        await rename(at("set/web.container"), at("outside"));
        await symlink("../outside", at("set/web.container"));
      },
    ],
    [
      "a link in the place of a directory",
      async (at: (name: string) => string) => {
        await rename(at("set/d"), at("outside"));
        await symlink("../outside", at("set/d"));
      },
    ],
    [
      "a link that leads elsewhere",
      async (at: (name: string) => string) => {
        await rm(at("set/l"));
        await symlink("web.container", at("set/l"));
      },
    ],
  ])("%s", async (_, change) => {
    const at = await twoReleases();
    await change(at.path);
    expect(await at.refusal()).toBe("set-mixed");
    await at.unchanged();
  });
  test("a set of another key, of no key, and one that only an other signature of the key is for", async () => {
    const at = await twoReleases();
    const { privateKey } = generateKeyPairSync("ed25519");
    await makeTree(at.path("set"), files, 3, { key: privateKey });
    expect(await at.refusal()).toBe("signed-file-invalid");
    await rm(at.path("set/.mos-set.json.sig"));
    expect(await at.refusal()).toBe("signed-file-unsigned");
    await rm(at.path("set/.mos-set.json"));
    expect(await at.refusal()).toBe("set-invalid");
    await at.unchanged();
  });
  test("a changed list", async () => {
    const at = await twoReleases();
    const list = await readFile(at.path("set/.mos-set.json"), "utf8");
    await writeFile(at.path("set/.mos-set.json"), list.replace('"serial":2', '"serial":9'));
    expect(await at.refusal()).toBe("signed-file-invalid");
    await at.unchanged();
  });
  test("links on the way to the destination, and in the place of its directories", async () => {
    const at = await twoReleases();
    await at.again();
    await put(at.path("root"), { "victim/x": "V" });
    await rm(at.path("root/etc/quadlets/d"), { recursive: true });
    await symlink("../../victim", at.path("root/etc/quadlets/d"));
    await makeTree(at.path("set"), { ...files, "d/x": "changed" }, 3);
    await at.again().catch(() => undefined);
    expect(await readFile(at.path("root/victim/x"), "utf8")).toBe("V");
    await rm(at.path("root/etc/quadlets"), { recursive: true });
    await symlink("../victim", at.path("root/etc/quadlets"));
    expect(await at.refusal()).toBe("signed-destination-unsafe");
  });
});

/** A list with one named change, signed again. */
async function withList(change: (list: Record<string, unknown>) => void): Promise<string> {
  const at = await setPlace();
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  await makeTree(at.path("set"), files, 1, { key: privateKey });
  const list = JSON.parse(await readFile(at.path("set/.mos-set.json"), "utf8"));
  change(list);
  const bytes = Buffer.from(JSON.stringify(list));
  await writeFile(at.path("set/.mos-set.json"), bytes);
  await writeFile(at.path("set/.mos-set.json.sig"), makeSignature(blobOfManifest(bytes), privateKey));
  const { installSet } = await import("../../../src/signed-sets/install-set.ts");
  const { asMosError } = await import("../../../src/errors/mos-error.ts");
  const outcome = await installSet(at, at.path("set"), [publicKey], { force: false }).then(
    () => "installed",
    (error: unknown) => asMosError(error).code,
  );
  return outcome;
}

const app = (image: object = {}) => ({ version: "1", images: [{ id: "a".repeat(64), name: "a", ...image }] });

describe("a list, though it is signed, is refused", () => {
  const entries = (list: Record<string, unknown>): Record<string, unknown>[] =>
    list["entries"] as Record<string, unknown>[];
  const one = (list: Record<string, unknown>, path: string): Record<string, unknown> =>
    entries(list).find((entry) => entry["path"] === path) ?? {};
  test("not at all as it is", async () => {
    expect(await withList(() => undefined)).toBe("installed");
  });
  test.each([
    [
      "a path that leads out",
      (list: Record<string, unknown>) => Object.assign(one(list, "web.container"), { path: "../x" }),
    ],
    ["an absolute path", (list) => Object.assign(one(list, "web.container"), { path: "/etc/x" })],
    ["an empty name", (list) => Object.assign(one(list, "web.container"), { path: "w//x" })],
    ["a newline in a name", (list) => Object.assign(one(list, "web.container"), { path: "w\nx" })],
    ["a NUL in a name", (list) => Object.assign(one(list, "web.container"), { path: "w\0x" })],
    ["a name of half a character", (list) => Object.assign(one(list, "web.container"), { path: "w\ud800" })],
    ["a name of 256 bytes", (list) => Object.assign(one(list, "web.container"), { path: "w".repeat(256) })],
    ["the name of the stage", (list) => Object.assign(one(list, "d"), { path: ".mos-set-quadlets" })],
    ["a path twice", (list) => entries(list).push({ ...entries(list).at(-1) })],
    ["paths that are not sorted", (list) => entries(list).reverse()],
    [
      "a file below a file",
      (list) => Object.assign(one(list, "d"), { ...one(list, "web.container"), path: "d" }),
    ],
    ["a directory that is not listed", (list) => entries(list).shift()],
    ["a link that leads out", (list) => Object.assign(one(list, "l"), { target: "../../etc/passwd" })],
    ["an absolute link", (list) => Object.assign(one(list, "l"), { target: "/etc/quadlets/d/x" })],
    ["a link to what is not listed", (list) => Object.assign(one(list, "l"), { target: "missing" })],
    ["a link to itself", (list) => Object.assign(one(list, "l"), { target: "l" })],
    ["a set-user-ID bit", (list) => Object.assign(one(list, "web.container"), { mode: "04755" })],
    ["a device", (list) => Object.assign(one(list, "web.container"), { type: "device" })],
    ["a field that nobody knows", (list) => Object.assign(list, { more: 1 })],
    ["no serial", (list) => Object.assign(list, { serial: 0 })],
    ["a serial that is no safe integer", (list) => Object.assign(list, { serial: 2 ** 53 })],
    ["a destination that is not absolute", (list) => Object.assign(list, { destination: "etc" })],
    ["a destination with ..", (list) => Object.assign(list, { destination: "/etc/../usr" })],
    ["the root as destination", (list) => Object.assign(list, { destination: "/" })],
    ["a name with a slash", (list) => Object.assign(list, { name: "../x" })],
    ["a negative size", (list) => Object.assign(one(list, "web.container"), { size: -1 })],
    ["images among its files", (list) => entries(list).unshift({ ...one(list, "d"), path: ".mos-images" })],
    [
      "images that are carried elsewhere",
      (list) => Object.assign(list, { app: app(), carried: [{ ...one(list, "d"), path: "images" }] }),
    ],
    [
      "a link among its images",
      (list) =>
        Object.assign(list, {
          app: app(),
          carried: [
            { ...one(list, "d"), path: ".mos-images" },
            { path: ".mos-images/a", type: "symlink", target: "." },
          ],
        }),
    ],
    [
      "images that nothing names",
      (list) => Object.assign(list, { carried: [{ ...one(list, "d"), path: ".mos-images" }] }),
    ],
    ["an image without a whole id", (list) => Object.assign(list, { app: app({ id: "ab" }) })],
    ["a control character in an image's name", (list) => Object.assign(list, { app: app({ name: "a\n" }) })],
    ["a version with a blank", (list) => Object.assign(list, { app: { ...app(), version: "1 2" } })],
    ["the claim to be none", (list) => Object.assign(list, { app: { ...app(), unlisted: true } })],
    ["an app, where no app is asked for", (list) => Object.assign(list, { app: app() })],
  ] satisfies [string, (list: Record<string, unknown>) => unknown][])("with %s", async (_, change) => {
    expect(await withList(change)).toBe("set-invalid");
  });
});

describe("a file that changes while it is installed", () => {
  test("is what was signed, or not installed", async () => {
    const at = await twoReleases();
    const durable = await import("../../../src/system/durable.ts");
    // Between the check of the tree and the copy: the moment at which the stage's directory is made.
    const { createDirectory } = durable;
    const spy = vi.spyOn(durable, "createDirectory").mockImplementation(async (path, mode) => {
      await createDirectory(path, mode);
      if (!path.endsWith(".mos-set-quadlets")) return;
      await rm(at.path("set/web.container"));
      await symlink("../outside", at.path("set/web.container"));
      await writeFile(at.path("outside"), "new\n");
    });
    const refusal = await at.refusal().finally(() => spy.mockRestore());
    // ELOOP: the link is not followed.
    expect(refusal).toBe("io-failed");
    await at.unchanged();
  });
});

describe("a link that is planted while a set is installed", () => {
  test.each([
    ["in the place of a directory of it", "root/etc/quadlets/d"],
    ["in the place of the destination", "root/etc/quadlets"],
    ["on the way to it", "root/etc"],
  ])("is not written through: %s", async (_, place) => {
    const at = await twoReleases();
    await makeTree(at.path("set"), { ...files, "d/x": "changed", "d/new": "N" }, 2);
    await put(at.path("victim"), { x: "V", "d/x": "V", "quadlets/d/x": "V", "quadlets/x": "V" });
    const before = await treeOf(at.path("victim"));
    const durable = await import("../../../src/system/durable.ts");
    const { openFile } = durable;
    // While the first file is staged: everything was looked at, and nothing has its place yet.
    let isPlanted = false;
    const spy = vi.spyOn(durable, "openFile").mockImplementation(async (path, flags, mode) => {
      if (!isPlanted && !path.startsWith(at.state)) {
        isPlanted = true;
        await rename(at.path(place), at.path("moved"));
        await symlink(at.path("victim"), at.path(place));
      }
      return await openFile(path, flags, mode);
    });
    await at.again().then(
      () => undefined,
      () => undefined,
    );
    spy.mockRestore();
    expect(isPlanted).toBe(true);
    expect(await treeOf(at.path("victim"))).toEqual(before);
  });
});
