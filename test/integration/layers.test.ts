// Layers that mos packs, against the programs that other people use to look at such layers.
import { mkdir, mkdtemp, open, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { layerFormats, type PackedLayer, packLayer } from "../../src/layers/pack.ts";
import { parseVeritySuperblock } from "../../src/layers/verity.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { buildTree } from "../unit/layers/verity-oracle.ts";
import { isAcceptedByVeritysetup, isRoot, makeTree } from "./layers-fixture.ts";

let directory: string;
let tree: string;
let archive: string;
const layers = new Map<string, PackedLayer>();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "mos-layers-"));
  tree = join(directory, "tree");
  archive = join(directory, "tree.tar");
  await makeTree(tree);
  await run("tar", ["--create", "--file", archive, "--directory", tree, "."]);
  for (const format of layerFormats) {
    for (const kind of isRoot ? (["directory", "tar"] as const) : (["directory"] as const)) {
      const workDirectory = join(directory, `${format}-${kind}`);
      await mkdir(workDirectory);
      const path = kind === "tar" ? archive : tree;
      layers.set(
        `${format} from a ${kind}`,
        await packLayer({ source: { kind, path }, format, workDirectory }),
      );
    }
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function layer(name: string): PackedLayer {
  const found = layers.get(name);
  if (found === undefined) throw new Error(`no layer ${name}`);
  return found;
}

/** A copy of a layer with one change, and a descriptor that says nothing of it but the size. */
async function changed(
  { path, descriptor }: PackedLayer,
  change: (copy: string) => Promise<void>,
): Promise<[string, Descriptor]> {
  const copy = join(await temporaryDirectory(), "layer");
  await writeFile(copy, await readFile(path));
  await change(copy);
  return [copy, { ...descriptor, size: (await stat(copy)).size }];
}

async function flip(path: string, at: number): Promise<void> {
  const handle = await open(path, "r+");
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at);
  await handle.write(Buffer.of(buffer.readUInt8(0) ^ 0x10), 0, 1, at);
  await handle.close();
}

const names = layerFormats.flatMap((format) => [
  `${format} from a directory`,
  ...(isRoot ? [`${format} from a tar`] : []),
]);

describe.each(names)("%s", (name) => {
  it("is accepted by veritysetup, and no longer after a bit flips anywhere in its data", async () => {
    const packed = layer(name);
    const { hashOffset } = await inspectLayer(packed.path, packed.descriptor);
    expect(await isAcceptedByVeritysetup(packed.path, hashOffset, packed.rootHash)).toBe(true);
    for (const at of [0, 5000, hashOffset - 1]) {
      const [copy] = await changed(packed, (path) => flip(path, at));
      expect(await isAcceptedByVeritysetup(copy, hashOffset, packed.rootHash)).toBe(false);
    }
  });

  it("has the descriptor of what is in the file, with the root hash in both spellings", async () => {
    const { path, descriptor, rootHash } = layer(name);
    const bytes = await readFile(path);
    expect(descriptor).toEqual({
      mediaType: expect.stringMatching(/^application\/vnd\.stacker\.image\.layer\./),
      digest: digestOf(bytes),
      size: bytes.length,
      annotations: {
        "io.stackeroci.stacker.squashfs_verity_root_hash": rootHash,
        "io.stackeroci.stacker.atomfs_verity_root_hash": rootHash,
      },
    });
  });

  it("carries the same tree as one that is computed in another way", async () => {
    const { path, descriptor, rootHash } = layer(name);
    const bytes = await readFile(path);
    const { hashOffset, dataBlocks } = await inspectLayer(path, descriptor);
    const { salt } = parseVeritySuperblock(bytes.subarray(hashOffset), name);
    const expected = buildTree(bytes.subarray(0, hashOffset), salt);
    expect(expected.rootHash).toBe(rootHash);
    expect(bytes.subarray(hashOffset + 4096).equals(expected.tree)).toBe(true);
    expect(dataBlocks * 4096).toBe(hashOffset);
  });

  it("is refused at boot when the top of its tree or the tree's superblock is altered", async () => {
    const packed = layer(name);
    const { hashOffset } = await inspectLayer(packed.path, packed.descriptor);
    // Superblock: version, algorithm, data blocks, salt size, salt. Tree: first and last byte of the top block.
    for (const at of [8, 32, 72, 80, 88, 119, 4096, 8191]) {
      const [copy, descriptor] = await changed(packed, (path) => flip(path, hashOffset + at));
      await expect(inspectLayer(copy, descriptor), `byte ${at}`).rejects.toMatchObject({
        code: "verity-mismatch",
      });
    }
    const [copy, descriptor] = await changed(packed, (path) => flip(path, hashOffset));
    await expect(inspectLayer(copy, descriptor)).rejects.toMatchObject({ code: "verity-missing" });
  });

  it("is refused when it is cut off, wherever", async () => {
    const packed = layer(name);
    const { hashOffset } = await inspectLayer(packed.path, packed.descriptor);
    const { size } = packed.descriptor;
    for (const length of [
      0,
      1,
      4095,
      4096,
      hashOffset - 1,
      hashOffset,
      hashOffset + 512,
      hashOffset + 4096,
      size - 1,
    ]) {
      const [copy, descriptor] = await changed(packed, (path) => truncate(path, length));
      await expect(inspectLayer(copy, descriptor), `${length} bytes`).rejects.toMatchObject({
        code: expect.stringMatching(/^(layer-unsupported|verity-missing|verity-mismatch)$/),
      });
      await expect(inspectLayer(copy, packed.descriptor)).rejects.toMatchObject({ code: "size-mismatch" });
    }
  });

  it("is refused under another root hash, through a symbolic link, and when it is not there", async () => {
    const { path, descriptor } = layer(name);
    const annotations = { "io.stackeroci.stacker.atomfs_verity_root_hash": "0".repeat(64) };
    await expect(inspectLayer(path, { ...descriptor, annotations })).rejects.toMatchObject({
      code: "verity-mismatch",
    });
    const elsewhere = await temporaryDirectory();
    await symlink(path, join(elsewhere, "link"));
    await expect(inspectLayer(join(elsewhere, "link"), descriptor)).rejects.toMatchObject({
      code: "state-invalid",
    });
    await expect(inspectLayer(join(elsewhere, "none"), descriptor)).rejects.toMatchObject({
      code: "not-found",
    });
  });
});
