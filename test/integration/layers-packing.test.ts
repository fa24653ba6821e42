// Packing trees and archives: what is kept, what is the same every time, what is refused.
import { lstat, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { type LayerFormat, layerFormats, packLayer } from "../../src/layers/pack.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { isAcceptedByVeritysetup, isRoot, makeTree } from "./layers-fixture.ts";

type Kind = "directory" | "tar";

let directory: string;
let tree: string;
let archive: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "mos-packing-"));
  tree = join(directory, "tree");
  archive = join(directory, "tree.tar");
  await makeTree(tree);
  await run("tar", ["--create", "--file", archive, "--directory", tree, "."]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** For EROFS archives are unpacked, which takes root. */
const cases: [LayerFormat, Kind][] = [
  ["squashfs", "directory"],
  ["squashfs", "tar"],
  ["erofs", "directory"],
  ...(isRoot ? [["erofs", "tar"] satisfies [LayerFormat, Kind]] : []),
];

async function pack(format: LayerFormat, kind: Kind, path = kind === "tar" ? archive : tree) {
  return await packLayer({ source: { kind, path }, format, workDirectory: await temporaryDirectory() });
}

describe("packing", () => {
  it.each(layerFormats)("the same tree elsewhere and at another time gives the same %s", async (format) => {
    const copy = join(await temporaryDirectory(), "another/copy");
    await mkdir(copy, { recursive: true });
    await run("cp", ["--archive", `${tree}/.`, copy]);
    await utimes(join(copy, "usr/bin/service"), 1, 2);
    await utimes(copy, 3, 4);
    const [one, two] = [await pack(format, "directory"), await pack(format, "directory", copy)];
    expect(two.descriptor).toEqual(one.descriptor);
  });

  it.each(cases)("as %s, the same %s twice gives the same bytes", async (format, kind) => {
    const [one, two] = [await pack(format, kind), await pack(format, kind)];
    expect(two.descriptor).toEqual(one.descriptor);
    expect((await readFile(two.path)).equals(await readFile(one.path))).toBe(true);
  });

  it.each(layerFormats)("an empty directory as %s makes a layer that veritysetup accepts", async (format) => {
    const { path, descriptor, rootHash } = await pack(format, "directory", await temporaryDirectory());
    const { hashOffset, dataBlocks } = await inspectLayer(path, descriptor);
    expect(dataBlocks).toBe(1);
    expect(await isAcceptedByVeritysetup(path, hashOffset, rootHash)).toBe(true);
  });

  it.runIf(isRoot).each(cases)("as %s keeps owners, modes and odd names of a %s", async (format, kind) => {
    const { path } = await pack(format, kind);
    const root = join(await temporaryDirectory(), "root");
    await extract(format, path, root);
    expect(await lstat(root)).toMatchObject({ uid: 5, gid: 6, mode: 0o40711, mtimeMs: 0 });
    const service = await lstat(join(root, "usr/bin/service"));
    expect(service).toMatchObject({ uid: 33, gid: 44, size: 800_000, mtimeMs: 0 });
    expect(await modeOfService(format, path, root)).toBe(0o4755);
    expect((await lstat(join(root, "usr/bin/service-2"))).size).toBe(800_000);
    expect((await lstat(join(root, "bin"))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(root, "name with 'quotes\" and\nnewline"), "utf8")).toBe("odd");
    expect(await readFile(join(root, "-starts-with-a-dash"), "utf8")).toBe("odd");
  });

  it.each(cases)("as %s keeps extended attributes of a %s", async (format, kind) => {
    const place = await temporaryDirectory();
    const tar = join(place, "one-file.tar");
    const attribute = ["--format=posix", "--pax-option=SCHILY.xattr.user.mos:=kept"];
    await run("tar", ["--create", ...attribute, "--file", tar, "--directory", tree, "usr/bin/service"]);
    const root = join(place, "root");
    await mkdir(root);
    await run("tar", ["--extract", "--xattrs", "--xattrs-include=*", "--file", tar, "--directory", root]);
    const { path } = await pack(format, kind, kind === "tar" ? tar : root);
    expect(await hasAttribute(format, path, place)).toBe(true);
  });

  it("what is not there, or not of the kind that was said, is refused and leaves nothing behind", async () => {
    const workDirectory = await temporaryDirectory();
    for (const source of [
      { kind: "directory", path: join(workDirectory, "none") },
      { kind: "directory", path: archive },
      { kind: "tar", path: tree },
    ] as const) {
      await expect(packLayer({ source, format: "erofs", workDirectory })).rejects.toMatchObject({
        code: "source-invalid",
      });
    }
    const broken = join(directory, "broken.tar");
    await writeFile(broken, "this is not a tar archive at all".repeat(100));
    for (const format of layerFormats) {
      await expect(
        packLayer({ source: { kind: "tar", path: broken }, format, workDirectory }),
      ).rejects.toMatchObject({ code: expect.stringMatching(/^(program-failed|permission-denied)$/) });
    }
    expect(await run("ls", ["-A", workDirectory])).toMatchObject({ stdout: "" });
  });
});

async function extract(format: LayerFormat, path: string, to: string): Promise<void> {
  if (format === "squashfs") await run("unsquashfs", ["-quiet", "-no-progress", "-dest", to, path]);
  else await run("fsck.erofs", [`--extract=${to}`, "--preserve", path]);
}

/** EROFS: fsck.erofs 1.5 loses the setuid bit, and dump.erofs does not print it, so the inode itself is read. */
async function modeOfService(format: LayerFormat, path: string, root: string): Promise<number> {
  if (format === "squashfs") return (await lstat(join(root, "usr/bin/service"))).mode & 0o7777;
  const { stdout } = await run("dump.erofs", ["--path=/usr/bin/service", path]);
  const nid = Number(/^NID: (\d+)/m.exec(stdout)?.[1]);
  const image = await readFile(path);
  // struct erofs_super_block.meta_blkaddr at 40; struct erofs_inode_compact.i_mode at 4, inodes in units of 32.
  return image.readUInt16LE(image.readUInt32LE(1024 + 40) * 4096 + nid * 32 + 4) & 0o7777;
}

/** Whether the service in a layer has the attribute `user.mos=kept`; asked of tar, which reads attributes. */
async function hasAttribute(format: LayerFormat, path: string, place: string): Promise<boolean> {
  // Nothing but the kernel extracts attributes from EROFS here; uncompressed metadata has them as they are.
  if (format === "erofs") return (await readFile(path)).includes("moskept");
  const root = await mkdtemp(join(place, "extracted-"));
  await run("unsquashfs", ["-quiet", "-no-progress", "-force", "-dest", root, path]);
  const listing = join(place, "listing.tar");
  const keep = ["--format=posix", "--xattrs", "--xattrs-include=*"];
  await run("tar", ["--create", ...keep, "--file", listing, "--directory", root, "usr/bin/service"]);
  return (await readFile(listing)).includes("SCHILY.xattr.user.mos=kept\n");
}
