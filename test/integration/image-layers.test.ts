// mosb image build with a root of two layers for the store of devices: what both are together, and what two releases of
// the same distribution share.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { namedRoot } from "../../src/boot/command-line.ts";
import { checkPair } from "../../src/boot/pair.ts";
import { type BuiltImage, buildImage } from "../../src/image/build-image.ts";
import { parseImageDescription } from "../../src/image/description.ts";
import { readTree } from "../../src/image/tree-entries.ts";
import { rootHashOf } from "../../src/layers/media-type.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { type Descriptor, parseManifest } from "../../src/oci/model.ts";
import { openImage } from "../../src/oci/open.ts";
import { run } from "../../src/system/process.ts";
import { documentation, prepareImage } from "./image-fixture.ts";

let work: string;
let first: BuiltImage;
let again: BuiltImage;
let next: BuiltImage;

const replaced = process.env["PATH"];

async function build(text: string, output: string, epoch: number): Promise<BuiltImage> {
  return await buildImage({
    ...{ description: parseImageDescription(text, "image.yaml"), baseDirectory: work },
    ...{ lockFile: join(work, `${output}.lock.json`), updateLock: false, keysets: join(work, "keys") },
    ...{ outputDirectory: join(work, output), replace: false, epoch, onStep: () => undefined },
    ...{ qcow2: false, targets: true },
  });
}

/** Layers of the root for the store, the lower first. */
async function layersOf({ targets = "" }: BuiltImage): Promise<readonly Descriptor[]> {
  const repository = openImage({ kind: "oci", directory: targets, reference: "hostfs" });
  return parseManifest((await repository.manifest("hostfs")).bytes, "hostfs").layers;
}

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-image-layers-"));
  const whole = await prepareImage(work);
  const description = whole
    .replace("compression: lz4\n", "compression: lz4\n  layers: 2\n")
    .replace("installer: {disk: auto}\n", "");
  first = await build(description, "first", 1_700_000_000);
  again = await build(description, "again", 1_700_000_000);
  const changed = description
    .replace('release: "1"', 'release: "2"')
    .replace('content: "hello\\n"', 'content: "hello again\\n"');
  next = await build(changed, "next", 1_750_000_000);
}, 900_000);
afterAll(async () => {
  process.env["PATH"] = replaced;
  await rm(work, { recursive: true, force: true });
});

describe("a root of two layers", () => {
  test("is named by the kernel image with both of them", async () => {
    const layers = (await layersOf(first)).map((one) => ({ digest: one.digest, rootHash: rootHashOf(one) }));
    expect(layers).toHaveLength(2);
    checkPair(first.targetsCommandLine ?? "", layers);
    expect(namedRoot(first.targetsCommandLine ?? "")?.stored).toEqual(layers);
    // The one in the partition is still one.
    expect(namedRoot(first.commandLine)?.rootHashes).toEqual([first.rootHash]);
  });

  test("is the same bytes from the same inputs", async () => {
    expect(await layersOf(again)).toEqual(await layersOf(first));
    expect(again.targetsCommandLine).toBe(first.targetsCommandLine);
    expect(again.digest).toBe(first.digest);
  });

  test("shares the distribution's part with the next release, and what is above it is small", async () => {
    const [[lower, upper], [sameLower, otherUpper]] = await Promise.all([layersOf(first), layersOf(next)]);
    expect(sameLower).toEqual(lower);
    expect(otherUpper?.digest).not.toBe(upper?.digest);
    expect((lower?.size ?? 0) / (otherUpper?.size ?? 1)).toBeGreaterThan(10);
  });

  test("is, as an overlay, what is in the partition of the disk", async () => {
    const names = ["partition", "lower", "upper"];
    const trees = names.map((name) => join(work, `tree-${name}`));
    const [lower, upper] = (await layersOf(first)).map(({ digest }) =>
      join(first.targets ?? "", "blobs/sha256", hexOf(digest)),
    );
    const { stdout } = await run("sfdisk", ["--json", first.raw]);
    const [, { start, size }] = JSON.parse(stdout).partitiontable.partitions;
    const partition = join(work, "partition");
    const piece = [`skip=${start / 2048}`, `count=${size / 2048}`, "conv=sparse", "status=none"];
    await run("dd", [`if=${first.raw}`, `of=${partition}`, "bs=1M", ...piece]);
    for (const [i, file] of [partition, lower, upper].entries()) {
      const keep = ["--preserve-owner", "--preserve-perms"];
      await run("fsck.erofs", [`--extract=${trees[i]}`, ...keep, file ?? ""], { timeoutMs: 300_000 });
    }
    const merged = join(work, "merged");
    const script = `mkdir "$3" "$3.tmp" && mount -t overlay -o "lowerdir=$2:$1" overlay "$3.tmp" && cp -a "$3.tmp/." "$3/"`;
    const args = ["--mount", "--propagation", "private", "sh", "-ec", script, "sh"];
    await run("unshare", [...args, ...trees.slice(1), merged], { timeoutMs: 300_000 });
    const [is, was] = await Promise.all([readTree(merged), readTree(trees[0] ?? "")]);
    expect([...was.keys()].filter((path) => is.get(path)?.identity !== was.get(path)?.identity)).toEqual([]);
    expect([...is.keys()].filter((path) => !was.has(path))).toEqual([]);
    // What the description removes is in the lower layer, and gone.
    const [removed] = documentation;
    const below = await readTree(join(trees[1] ?? "", removed ?? ""));
    expect(below.size).toBeGreaterThan(1);
    expect(is.has((removed ?? "").slice(1))).toBe(false);
  }, 600_000);
});
