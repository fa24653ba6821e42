// Disks with the root file system, of somebody who has had them in his hands. The partitions keep their names, sizes
// and uuids: only dm-verity can tell.
import { copyFile, open, rm } from "node:fs/promises";
import { run } from "../../src/system/process.ts";
import type { Factory } from "./harness.ts";

/** Where the first partition, the root's, begins (tools/secure-image.ts). */
const rootStart = 1024 * 1024;

/** Inside the superblock, which is 1 KiB into the file system (Linux, fs/erofs/erofs_fs.h). */
export const superblock = 1024 + 20;

/** Byte in the root file system where the first block of a file's content is. @param path absolute */
export async function contentOf(factory: Factory, path: string): Promise<number> {
  return await contentIn(factory, path, factory.image.rootDisk, rootStart);
}

/** The same in any file with an EROFS file system. @param start where that begins in it */
export async function contentIn(factory: Factory, path: string, file: string, start = 0): Promise<number> {
  const disk = factory.path("looked-at.img");
  await copyFile(file, disk);
  const { stdout } = await run("dump.erofs", [`--offset=${start}`, `--path=${path}`, "-e", disk], {
    cwd: factory.directory,
  });
  await rm(disk);
  // "   0:        0..    4467 |    4467 :   12296192..  12300288 |    4096"
  const [, at] = /^ *0: .*: +([0-9]+)\.\./m.exec(stdout) ?? [];
  if (at === undefined) throw new Error(`dump.erofs does not say where ${path} is: ${stdout}`);
  return Number(at);
}

/** A copy of the root's disk with one byte changed. @param at from the start of the file system */
export async function alteredRoot(factory: Factory, name: string, at: number): Promise<string> {
  const disk = factory.path(name);
  await copyFile(factory.image.rootDisk, disk);
  await using handle = await open(disk, "r+");
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, rootStart + at);
  await handle.write(Buffer.of(byte.readUInt8() ^ 0xff), 0, 1, rootStart + at);
  return disk;
}

/** As {@link alteredRoot}, and with a hash tree that fits what is there now. */
export async function alteredRootWithTree(factory: Factory, name: string, at: number): Promise<string> {
  const disk = await alteredRoot(factory, name, at);
  const { stdout } = await run("sfdisk", ["--json", disk]);
  const [root, tree] = (JSON.parse(stdout) as SfdiskJson).partitiontable.partitions;
  if (root === undefined || tree === undefined) throw new Error("the root's disk has no two partitions");
  const [data, hashes] = [factory.path(`${name}.root`), factory.path(`${name}.tree`)];
  const sector = 512;
  const mebibyte = 1024 * 1024;
  const copy = async (...args: readonly string[]): Promise<void> => {
    await run("dd", ["bs=1M", "conv=notrunc,sparse", "status=none", ...args]);
  };
  await copy(
    ...[`if=${disk}`, `of=${data}`, `skip=${(root.start * sector) / mebibyte}`],
    `count=${(root.size * sector) / mebibyte}`,
  );
  await run("veritysetup", ["format", "--salt=-", data, hashes]);
  await copy(`if=${hashes}`, `of=${disk}`, `seek=${(tree.start * sector) / mebibyte}`);
  await Promise.all([rm(data), rm(hashes)]);
  return disk;
}

interface SfdiskJson {
  readonly partitiontable: {
    /** In sectors of 512 bytes. */
    readonly partitions: readonly { readonly start: number; readonly size: number }[];
  };
}
