// Storing blobs from sources that fail in every way a network or a disk can.
import { link, lstat, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import {
  brokenAfter,
  content,
  descriptor,
  expectNothingLeft,
  inPieces,
  newLayout,
  refused,
  Source,
  stored,
  whole,
} from "./layout-fixture.ts";

describe("storing a blob", () => {
  it("stores it whole, reporting progress, and does not fetch it again", async () => {
    const { layout, path } = await newLayout();
    const progress: number[] = [];
    await layout.storeBlob(descriptor, whole(), (done) => progress.push(done));
    expect(await stored(layout)).toBe(true);
    expect(progress.at(-1)).toBe(content.length);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    const second = whole();
    await layout.storeBlob(descriptor, second);
    expect(second.offsets).toEqual([]);
    expect((await readdir(path)).sort()).toEqual(["blobs", "index.json", "oci-layout"]);
  });

  it("stores the empty blob", async () => {
    const { layout } = await newLayout();
    const empty = { mediaType: "x", digest: digestOf(""), size: 0 };
    await layout.storeBlob(empty, new Source(() => inPieces(new Uint8Array())));
    expect(await layout.hasBlob(empty)).toBe(true);
  });

  it("of another content is refused, and nothing is left of it", async () => {
    const { layout, path } = await newLayout();
    const flipped = Buffer.from(content);
    flipped.writeUInt8(flipped.readUInt8(1_234_567) ^ 1, 1_234_567);
    await expect(layout.storeBlob(descriptor, new Source(() => inPieces(flipped)))).rejects.toThrow(
      refused("digest-mismatch"),
    );
    await expectNothingLeft(path);
  });

  it("that is shorter than declared is refused", async () => {
    const { layout, path } = await newLayout();
    const short = new Source(() => inPieces(content.subarray(1)));
    await expect(layout.storeBlob(descriptor, short)).rejects.toThrow(refused("size-mismatch"));
    await expectNothingLeft(path);
  });

  it("that never ends is refused as soon as it is longer than declared", async () => {
    const { layout, path } = await newLayout();
    const endless = new Source(async function* () {
      for (;;) yield content;
    });
    await expect(layout.storeBlob(descriptor, endless)).rejects.toThrow(refused("size-mismatch"));
    await expectNothingLeft(path);
  });

  it("continues where the network broke, asking only for the rest", async () => {
    const { layout } = await newLayout();
    const broken = new Source(() => brokenAfter(content.subarray(0, 3_000_000)));
    await expect(layout.storeBlob(descriptor, broken)).rejects.toThrow(refused("registry-unreachable"));
    expect(await layout.hasBlob(descriptor)).toBe(false);
    const rest = whole();
    await layout.storeBlob(descriptor, rest);
    expect(rest.offsets).toHaveLength(1);
    expect(rest.offsets[0]).toBeGreaterThan(1_000_000);
    expect(await stored(layout)).toBe(true);
  });

  it("that was there whole but not yet named is not fetched at all", async () => {
    const { layout, partial } = await newLayout();
    await writeFile(partial, content);
    const source = whole();
    await layout.storeBlob(descriptor, source);
    expect(source.offsets).toEqual([]);
    expect(await stored(layout)).toBe(true);
  });

  it.each([
    ["zeros, as after a power cut", Buffer.alloc(2_000_000)],
    ["more than the blob has", Buffer.concat([content, Buffer.alloc(1)])],
    ["other content of the same length", Buffer.alloc(content.length, 1)],
  ])("is fetched from the start when the partial file has %s", async (_, leftover) => {
    const { layout, partial } = await newLayout();
    await writeFile(partial, leftover);
    const source = whole();
    await layout.storeBlob(descriptor, source);
    expect(source.offsets.at(-1)).toBe(0);
    expect(await stored(layout)).toBe(true);
  });

  it("does not write through links that were planted for its partial file", async () => {
    const { layout, partial, path } = await newLayout();
    const victim = join(path, "victim");
    for (const plant of [symlink, link]) {
      await writeFile(victim, "precious");
      await plant(victim, partial);
      await layout.storeBlob(descriptor, whole());
      expect(await readFile(victim, "utf8")).toBe("precious");
      await rm(layout.blobPath(descriptor.digest));
    }
  });

  it("replaces a symbolic link and a cut-off file in the blob's place", async () => {
    const { layout, path } = await newLayout();
    const blob = layout.blobPath(descriptor.digest);
    await writeFile(join(path, "elsewhere"), content);
    await symlink(join(path, "elsewhere"), blob);
    expect(await layout.hasBlob(descriptor)).toBe(false);
    await layout.storeBlob(descriptor, whole());
    expect((await lstat(blob)).isFile()).toBe(true);
    await truncate(blob, 1000);
    expect(await layout.hasBlob(descriptor)).toBe(false);
    await layout.storeBlob(descriptor, whole());
    expect(await stored(layout)).toBe(true);
  });

  it("by two at once stores it for one and tells the other that it is busy", async () => {
    const { layout } = await newLayout();
    const results = await Promise.allSettled([
      layout.storeBlob(descriptor, whole()),
      layout.storeBlob(descriptor, whole()),
    ]);
    const reasons = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
    expect(reasons).toEqual([refused("busy")]);
    expect(await stored(layout)).toBe(true);
  });
});
