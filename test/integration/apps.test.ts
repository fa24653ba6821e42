// Apps, from a directory of quadlets and an image to a device in a directory; podman's storage is a set of ids here. The
// real one is in test/machine/autosd.test.ts.
import { generateKeyPairSync } from "node:crypto";
import { appendFile, copyFile, cp, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type AppDevice, listApps, removeApp, rollbackApp } from "../../src/apps/apps.ts";
import { buildApp } from "../../src/apps/build-app.ts";
import { type ImageStore, imageName } from "../../src/apps/image-store.ts";
import { restoreApps } from "../../src/apps/restore.ts";
import { bundlesIn, installBundles, installSource } from "../../src/apps/sources.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { installSet, recoverSets, removeSet } from "../../src/signed-sets/install-set.ts";
import { withSetTree } from "../../src/signed-sets/open-source.ts";
import { run } from "../../src/system/process.ts";
import { impatientClock, type MemoryManager, memoryManager } from "../memory-manager.ts";
import { makeImage } from "../oci-image.ts";
import { temporaryDirectory } from "../support.ts";
import { put, treeOf } from "../unit/signed-sets/set-fixture.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

/** By a person. */
const asked = { force: false, unattended: false };

interface MemoryImages extends ImageStore {
  readonly ids: Set<string>;
  /** Loads that fail. */
  isBroken: boolean;
}

/** podman's storage, as far as apps know it. */
function memoryImages(): MemoryImages {
  const ids = new Set<string>();
  const store: MemoryImages = {
    ...{ ids, isBroken: false },
    list: async () => [...ids],
    load: async (layout, id) => {
      if (store.isBroken) throw new Error("storage is broken");
      const index = await readFile(join(layout, "index.json"), "utf8");
      if (!index.includes(imageName(id))) throw new Error(`${layout} has no ${id}`);
      ids.add(id);
    },
    remove: async (gone) => {
      for (const id of gone) ids.delete(id);
    },
    sync: async () => undefined,
  };
  return store;
}

interface Place extends AppDevice {
  readonly path: (name: string) => string;
  readonly systemd: MemoryManager;
  readonly images: MemoryImages;
  /** Makes a bundle NAME-SERIAL.tar.gz of quadlets, each with an image of its own text. */
  readonly bundle: (
    serial: number,
    text: string,
    more?: Record<string, string>,
    name?: string,
  ) => Promise<string>;
  /** The outcome, or the error's code. */
  readonly install: (bundle: string) => Promise<string>;
  readonly installed: () => Promise<Readonly<Record<string, string>>>;
}

async function place(): Promise<Place> {
  const directory = await temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  const systemd = memoryManager();
  const images = memoryImages();
  const device = {
    ...{ root: path("root"), state: path("state/sets"), apps: path("state/apps"), images, keys: [publicKey] },
    activation: { systemd, clock: impatientClock(), timeout: 30, settle: 2 },
  };
  await mkdir(path("root"));
  const bundle = async (serial: number, text: string, more: Record<string, string> = {}, name = "radio") => {
    const source = path(`source-${serial}-${text}`);
    await put(path(`image-${text}`), { "bin/program": text });
    const image = await makeImage(path(`oci-${text}-${serial}`), path(`image-${text}`), ["/bin/program"]);
    await put(source, {
      [`${name}.container`]: `[Container]\nImage=localhost/${name}\nVolume=data.volume:/data\n`,
      ...more,
    });
    const archive = path(`${name}-${serial}.tar.gz`);
    const description = {
      ...{ name, version: `${serial}.0`, serial, destination: `/etc/quadlets/${name}`, ...owner },
      images: [{ name: `localhost/${name}`, source: image.source }],
    };
    await buildApp(source, archive, description, privateKey);
    await rm(source, { recursive: true });
    return archive;
  };
  const install = (archive: string) =>
    installSource(device, archive, asked).then(
      ({ outcome }) => outcome,
      (error: unknown) => asMosError(error).code,
    );
  return {
    ...{ ...device, path, systemd, bundle, install },
    installed: () => treeOf(path("root/etc/quadlets")),
  };
}

const versions = async (at: Place) =>
  (await listApps(at, at.systemd)).map(({ name, version, previous, units }) => ({
    ...{ name, version, previous: previous?.version, states: units.map(({ state }) => state) },
  }));

describe("an app", () => {
  test("is built, installed and runs, its quadlets naming the very images that came along", async () => {
    const at = await place();
    expect(await at.install(await at.bundle(1, "one", { "files/config": "c" }))).toBe("installed");
    const [id = ""] = at.images.ids;
    expect(await at.installed()).toEqual({
      radio: "/",
      "radio/files": "/",
      "radio/files/config": "c",
      "radio/radio.container": `[Container]\nImage=sha256:${id}\nVolume=data.volume:/data\n`,
    });
    expect([...at.systemd.up]).toEqual(["radio.service"]);
    expect(await versions(at)).toEqual([
      { name: "radio", version: "1.0", previous: undefined, states: ["active"] },
    ]);
    expect(await at.install(at.path("radio-1.tar.gz"))).toBe("unchanged");
  });
  test("is the same bundle when it is built again", async () => {
    const at = await place();
    const one = await readFile(await at.bundle(1, "one"));
    await rename(at.path("radio-1.tar.gz"), at.path("first.tar.gz"));
    await rm(at.path("oci-one-1"), { recursive: true });
    expect(await readFile(await at.bundle(1, "one"))).toEqual(one);
  });
  test("gives way to a newer version, goes back to the one before, and forward again", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one", { "extra.container": "[Container]\nRootfs=/x\n" }));
    await at.install(await at.bundle(2, "two"));
    expect(await versions(at)).toMatchObject([{ version: "2.0", previous: "1.0" }]);
    expect(at.images.ids.size).toBe(2);
    expect([...at.systemd.up]).toEqual(["radio.service"]);
    expect(await rollbackApp(at, "radio")).toMatchObject({ serial: 1, version: "1.0", previous: 2 });
    expect([...at.systemd.up].sort()).toEqual(["extra.service", "radio.service"]);
    expect(await rollbackApp(at, "radio")).toMatchObject({ serial: 2, version: "2.0", previous: 1 });
    expect([...at.systemd.up]).toEqual(["radio.service"]);
  });
  test("that is older than the newest one that ran is refused, also after going back", async () => {
    const at = await place();
    for (const serial of [1, 2, 3]) await at.install(await at.bundle(serial, `v${serial}`));
    expect(await at.install(at.path("radio-1.tar.gz"))).toBe("set-older");
    await rollbackApp(at, "radio");
    expect(await at.install(at.path("radio-1.tar.gz"))).toBe("set-older");
    expect(await at.install(at.path("radio-2.tar.gz"))).toBe("unchanged");
    expect(await at.install(at.path("radio-3.tar.gz"))).toBe("installed");
    await rm(at.path("oci-other-3"), { recursive: true, force: true });
    expect(await at.install(await at.bundle(3, "other"))).toBe("set-older");
  });
  test("keeps one version to go back to, and the images of two", async () => {
    const at = await place();
    for (const serial of [1, 2, 3]) await at.install(await at.bundle(serial, `v${serial}`));
    expect((await readdir(join(at.apps, "radio"))).sort()).toEqual(["2", "3"]);
    expect(at.images.ids.size).toBe(2);
  });
  test("that does not run comes to nothing: the version before runs again, and why is said", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    const before = await at.installed();
    at.systemd.failing.add("new.service");
    const bundle = await at.bundle(2, "two", { "new.container": "[Container]\nRootfs=/x\n" });
    await expect(installSource(at, bundle, asked)).rejects.toMatchObject({
      code: "set-unhealthy",
      problems: ["new.service: it has failed"],
    });
    expect(await at.installed()).toEqual(before);
    expect([...at.systemd.up]).toEqual(["radio.service"]);
    expect(at.images.ids.size).toBe(1);
    expect(await readdir(join(at.apps, "radio"))).toEqual(["1"]);
    expect(await versions(at)).toMatchObject([{ version: "1.0", previous: undefined }]);
  });
  test("whose image cannot be taken changes nothing", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    const before = await at.installed();
    at.images.isBroken = true;
    expect(await at.install(await at.bundle(2, "two"))).toBe("internal");
    expect(await at.installed()).toEqual(before);
    expect(await versions(at)).toMatchObject([{ version: "1.0" }]);
  });
  test("is removed with its images, and those that another app has too stay", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    await at.install(await at.bundle(1, "one", {}, "tv"));
    await at.install(await at.bundle(2, "two", {}, "tv"));
    expect(at.images.ids.size).toBe(2);
    expect(await removeApp(at, "tv")).toMatchObject({ outcome: "removed", version: "2.0" });
    expect(at.images.ids.size).toBe(1);
    expect([...at.systemd.up]).toEqual(["radio.service"]);
    expect(await readdir(at.apps)).toEqual(["radio"]);
    expect(await versions(at)).toMatchObject([{ name: "radio" }]);
    expect(await at.install(at.path("tv-1.tar.gz"))).toBe("set-older");
    await expect(removeApp(at, "tv")).rejects.toMatchObject({ code: "app-unknown" });
    await expect(rollbackApp(at, "tv")).rejects.toMatchObject({ code: "app-unknown" });
  });
  test("goes back only to what is there whole", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    await expect(rollbackApp(at, "radio")).rejects.toMatchObject({ code: "app-not-kept" });
    await at.install(await at.bundle(2, "two"));
    const [first = ""] = at.images.ids;
    at.images.ids.delete(first);
    await expect(rollbackApp(at, "radio")).rejects.toMatchObject({ code: "app-not-kept" });
    at.images.ids.add(first);
    await appendFile(join(at.apps, "radio/1/radio.container"), "#");
    await expect(rollbackApp(at, "radio")).rejects.toMatchObject({ code: "set-mixed" });
    expect(await versions(at)).toMatchObject([{ version: "2.0", states: ["active"] }]);
  });
  test("is not installed when altered, unsigned, under another name, or by another key", async () => {
    const at = await place();
    const bundle = await at.bundle(1, "one");
    await copyFile(bundle, at.path("unsigned.tar.gz"));
    expect(await at.install(at.path("unsigned.tar.gz"))).toBe("signed-file-unsigned");
    await copyFile(`${bundle}.sig`, at.path("unsigned.tar.gz.sig"));
    expect(await at.install(at.path("unsigned.tar.gz"))).toBe("signed-file-invalid");
    const other = { ...at, keys: [generateKeyPairSync("ed25519").publicKey] };
    await expect(installSource(other, bundle, asked)).rejects.toMatchObject({ code: "signed-file-invalid" });
    await appendFile(bundle, "x");
    expect(await at.install(bundle)).toBe("signed-file-invalid");
    expect(await at.installed()).toEqual({});
    expect(at.images.ids.size).toBe(0);
  });
  test("whose images were exchanged in a directory is refused before podman sees them", async () => {
    const at = await place();
    const bundle = await at.bundle(1, "one");
    await withSetTree(bundle, at.keys, at.state, async (tree) => {
      await cp(tree, at.path("tree"), { recursive: true });
    });
    const blobs = at.path("tree/.mos-images/blobs/sha256");
    for (const name of await readdir(blobs)) {
      const bytes = await readFile(join(blobs, name));
      await writeFile(
        join(blobs, name),
        bytes.map((byte) => byte ^ 1),
      );
    }
    expect(await at.install(at.path("tree"))).toBe("set-mixed");
    await rm(blobs, { recursive: true });
    expect(await at.install(at.path("tree"))).toBe("set-mixed");
    expect(at.images.ids.size).toBe(0);
  });
  test("does not take a unit of another app, and is no set without images", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    const same = { "radio.container": "[Container]\nRootfs=/x\n" };
    expect(await at.install(await at.bundle(1, "x", same, "tv"))).toBe("set-conflict");
    const bundle = await at.bundle(2, "two");
    const asSet = withSetTree(bundle, at.keys, at.state, (tree) =>
      installSet(at, tree, at.keys, { force: false }),
    );
    await expect(asSet).rejects.toMatchObject({ code: "set-invalid" });
    await expect(removeSet(at, "radio")).rejects.toMatchObject({ code: "set-conflict" });
  });
  test("on trial when the power goes is the one before at the next start", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    const before = await at.installed();
    const bundle = await at.bundle(2, "two");
    const { daemonReload } = at.systemd;
    Object.assign(at.systemd, {
      daemonReload: async () => {
        await cp(at.path("root"), at.path("then/root"), { recursive: true });
        await cp(at.path("state"), at.path("then/state"), { recursive: true });
        await daemonReload();
      },
    });
    await at.install(bundle);
    const then = {
      ...at,
      root: at.path("then/root"),
      state: at.path("then/state/sets"),
      apps: at.path("then/state/apps"),
    };
    expect(await recoverSets(then)).toEqual(["radio"]);
    expect(await treeOf(at.path("then/root/etc/quadlets"))).toEqual(before);
    expect(await listApps(then, at.systemd)).toMatchObject([{ version: "1.0" }]);
    // What the interrupted one has left goes with the next.
    await installSource(then, at.path("radio-1.tar.gz"), asked);
    expect(await readdir(join(then.apps, "radio"))).toEqual(["1"]);
    expect(at.images.ids.size).toBe(1);
  });
  test("on trial when the power goes is the one before also where its files were in memory", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    const before = await at.installed();
    const { daemonReload } = at.systemd;
    Object.assign(at.systemd, {
      daemonReload: async () => {
        await cp(at.path("state"), at.path("then/state"), { recursive: true });
        await daemonReload();
      },
    });
    await at.install(await at.bundle(2, "two", { "more/file": "x" }));
    await mkdir(at.path("then/root"));
    const then = {
      ...at,
      root: at.path("then/root"),
      state: at.path("then/state/sets"),
      apps: at.path("then/state/apps"),
    };
    expect(await recoverSets(then)).toEqual(["radio"]);
    expect(await restoreApps(then, then.apps, async () => at.keys)).toEqual({
      restored: ["radio"],
      failed: [],
    });
    expect(await treeOf(at.path("then/root/etc/quadlets"))).toEqual(before);
  });
});

describe("a directory of bundles", () => {
  test("is brought to its newest, and one that is refused stops none of the others", async () => {
    const at = await place();
    await mkdir(at.path("bundles"));
    for (const bundle of [
      await at.bundle(9, "v9"),
      await at.bundle(10, "v10"),
      await at.bundle(1, "tv", {}, "tv"),
    ]) {
      const name = bundle.slice(bundle.lastIndexOf("/") + 1);
      await rename(bundle, at.path(`bundles/${name}`));
      await rename(`${bundle}.sig`, at.path(`bundles/${name}.sig`));
    }
    await rm(at.path("bundles/tv-1.tar.gz.sig"));
    const all = (await bundlesIn(at.path("bundles"))) ?? [];
    const outcomes = async () => (await installBundles(at, all, false)).map(({ outcome }) => outcome);
    expect(await outcomes()).toEqual(["installed", "installed", "refused"]);
    expect(await outcomes()).toEqual(["older", "unchanged", "refused"]);
    expect(await versions(at)).toMatchObject([{ version: "10.0", previous: "9.0" }]);
  });
});

describe("by itself", () => {
  const bundles = async (at: Place, ...names: string[]) =>
    (await installBundles(at, names, false)).map(({ outcome }) => outcome);
  test("a device does not go forward again to what a person went back from, but to what is newer", async () => {
    const at = await place();
    const two = (await at.install(await at.bundle(1, "one"))) && (await at.bundle(2, "two"));
    expect(await bundles(at, two)).toEqual(["installed"]);
    await rollbackApp(at, "radio");
    expect(await bundles(at, two)).toEqual(["older"]);
    expect(await versions(at)).toMatchObject([{ version: "1.0" }]);
    expect(await bundles(at, await at.bundle(3, "three"))).toEqual(["installed"]);
  });
  test("a device does not try again what did not run, until a person asks for it", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    at.systemd.failing.add("new.service");
    const two = await at.bundle(2, "two", { "new.container": "[Container]\nRootfs=/x\n" });
    expect(await bundles(at, two)).toEqual(["refused"]);
    at.systemd.calls.length = 0;
    expect(await bundles(at, two)).toEqual(["failed-before"]);
    expect(at.systemd.calls).toEqual([]);
    await rm(at.path("root/etc"), { recursive: true });
    await restoreApps(at, at.apps, async () => at.keys);
    expect(await bundles(at, two)).toEqual(["failed-before"]);
    at.systemd.failing.clear();
    expect(await at.install(two)).toBe("installed");
  });
});

describe("a boot", () => {
  const restore = (at: Place, trusted = at.keys) => restoreApps(at, at.apps, async () => trusted);
  test("brings the files of apps back that are gone, by their signature, and starts nothing", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one", { "files/config": "c" }));
    const before = await at.installed();
    at.systemd.calls.length = 0;
    expect(await restore(at)).toEqual({ restored: [], failed: [] });
    await rm(at.path("root/etc"), { recursive: true });
    expect(await restore(at)).toEqual({ restored: ["radio"], failed: [] });
    expect(await at.installed()).toEqual(before);
    expect(at.systemd.calls).toEqual([]);
    expect(await versions(at)).toMatchObject([{ version: "1.0", previous: undefined }]);
  });
  test.each([
    ["a file of it was altered", "radio.container", "set-mixed"],
    ["its list was altered", ".mos-set.json", "signed-file-invalid"],
  ])("does not bring an app back when %s", async (_, file, code) => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    await rm(at.path("root/etc"), { recursive: true });
    const path = join(at.apps, "radio/1", file);
    const bytes = await readFile(path);
    await writeFile(path, bytes.with(bytes.length - 2, 0x58));
    expect(await restore(at)).toMatchObject({ restored: [], failed: [{ name: "radio", error: { code } }] });
    expect(Object.keys(await at.installed())).not.toContain("radio/radio.container");
  });
  test("does not bring an app back that nobody trusts any more, or that was removed", async () => {
    const at = await place();
    await at.install(await at.bundle(1, "one"));
    await rm(at.path("root/etc"), { recursive: true });
    const { publicKey: another } = generateKeyPairSync("ed25519");
    expect(await restore(at, [another])).toMatchObject({
      failed: [{ error: { code: "signed-file-invalid" } }],
    });
    await removeApp(at, "radio");
    expect(await restore(at)).toEqual({ restored: [], failed: [] });
  });
});

describe("making an app", () => {
  test.each([
    ["an image that is not along with it", { "a.container": "[Container]\nImage=docker.io/x\n" }],
    ["an image in a drop-in", { "a.container.d/x.conf": "[Container]\nImage = docker.io/x\n" }],
    ["what fetches images itself", { "a.image": "[Image]\nImage=docker.io/x\n" }],
    ["a list of its own", { ".mos-set.json": "{}" }],
  ])("is refused with %s", async (_, more) => {
    const at = await place();
    await expect(at.bundle(1, "one", more)).rejects.toMatchObject({ code: "app-invalid" });
  });
  test("is refused where nothing runs", async () => {
    const at = await place();
    await put(at.path("empty"), { "a.volume": "[Volume]\n" });
    const description = { name: "a", version: "1", serial: 1, destination: "/etc/a", ...owner, images: [] };
    const made = buildApp(at.path("empty"), at.path("a.tar.gz"), description, privateKey);
    await expect(made).rejects.toMatchObject({ code: "app-invalid" });
  });
});

/** As they were made for containers/validator: each file signed, then the archive. */
async function numbered(
  at: Place,
  number: number,
  files: Record<string, string>,
  unsigned: Record<string, string> = {},
) {
  const tree = at.path(`tree-a${number}`);
  await put(tree, files);
  await writeFile(at.path("secret.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  const sign = (...args: string[]) =>
    run(process.execPath, ["src/main.ts", "validator", "sign", `--key=${at.path("secret.pem")}`, ...args]);
  await sign("-r", join(tree, "var/quadlets"));
  await put(tree, unsigned);
  const archive = at.path(`a${number}.tar.gz`);
  await run("tar", ["-czf", archive, "-C", tree, "."]);
  await sign(archive);
  return archive;
}

describe("an archive that was made for containers/validator", () => {
  const quadlet = "var/quadlets/containers/systemd/demo.container";
  test("is installed, updated, brought back and removed, with its data", async () => {
    const at = await place();
    const etc = () => treeOf(at.path("root/etc"));
    const data = () => treeOf(at.path("root/var/apps"));
    expect(await at.install(await numbered(at, 6, { [quadlet]: "six", "var/apps/demo/data": "6" }))).toBe(
      "installed",
    );
    expect(await etc()).toEqual({
      containers: "/",
      "containers/systemd": "/",
      "containers/systemd/demo.container": "six",
    });
    expect(await data()).toEqual({ demo: "/", "demo/data": "6" });
    expect([...at.systemd.up]).toEqual(["demo.service"]);
    expect(await versions(at)).toMatchObject([{ name: "a", version: "6" }]);
    expect(await at.install(await numbered(at, 7, { [quadlet]: "seven", "var/apps/demo/data": "7" }))).toBe(
      "installed",
    );
    expect(await at.install(at.path("a6.tar.gz"))).toBe("set-older");
    expect(await data()).toEqual({ demo: "/", "demo/data": "7" });
    expect(await rollbackApp(at, "a")).toMatchObject({ version: "6", previous: 7 });
    expect(await etc()).toMatchObject({ "containers/systemd/demo.container": "six" });
    expect(await data()).toEqual({ demo: "/", "demo/data": "6" });
    expect(await removeApp(at, "a")).toMatchObject({ outcome: "removed" });
    expect([await data(), [...at.systemd.up]]).toEqual([{}, []]);
  });
  test("brings its data back when its quadlets do not run", async () => {
    const at = await place();
    await at.install(await numbered(at, 6, { [quadlet]: "six", "var/apps/demo/data": "6" }));
    at.systemd.failing.add("new.service");
    const next = {
      [quadlet]: "7",
      "var/quadlets/containers/systemd/new.container": "",
      "var/apps/demo/data": "7",
    };
    expect(await at.install(await numbered(at, 7, next))).toBe("set-unhealthy");
    expect(await treeOf(at.path("root/var/apps"))).toEqual({ demo: "/", "demo/data": "6" });
    expect([...at.systemd.up]).toEqual(["demo.service"]);
  });
  test("is refused where a file in it is not signed, or nothing says where it belongs", async () => {
    const at = await place();
    const unsigned = { "var/quadlets/containers/systemd/evil.container": "evil" };
    expect(await at.install(await numbered(at, 6, { [quadlet]: "six" }, unsigned))).toBe(
      "signed-file-unsigned",
    );
    expect(await at.install(await numbered(at, 8, { [quadlet]: "six" }, { "etc/shadow": "x" }))).toBe(
      "app-invalid",
    );
    const link = await numbered(at, 9, { [quadlet]: "six" });
    await rename(link, at.path("noname.tar.gz"));
    expect(await at.install(at.path("noname.tar.gz"))).toBe("signed-file-unsigned");
    expect(await treeOf(at.path("root"))).toEqual({});
  });
});
