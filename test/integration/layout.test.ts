// OCI layouts that mos writes, read by skopeo and umoci; theirs, read by mos; and a disk that is really full.
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { packLayer } from "../../src/layers/pack.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { buildImage } from "../../src/oci/image.ts";
import { Layout } from "../../src/oci/layout.ts";
import { limits, mediaTypes, parseConfig, parseManifest } from "../../src/oci/model.ts";
import { thisArchitecture } from "../../src/oci/platform.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";

const runConfig = {
  entrypoint: ["/usr/bin/service"],
  cmd: ["--verbose"],
  env: ["LANG=C.UTF-8"],
  user: "33:44",
  working_dir: "/srv",
};

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** A layout with one image, as publishing makes it. */
async function publishImage(place: string, tag: string): Promise<{ path: string; digest: Digest }> {
  await mkdir(join(place, "tree"));
  await writeFile(join(place, "tree/service"), randomBytes(100_000));
  const source = { kind: "directory", path: join(place, "tree") } as const;
  const layer = await packLayer({ source, format: "squashfs", workDirectory: place });
  const { config, manifest } = buildImage([layer.descriptor], runConfig);
  const path = join(place, "layout");
  const layout = await Layout.create(path);
  const bytes = await readFile(layer.path);
  expect(await layout.putBlob(layer.descriptor, () => pieces(bytes))).toBe("sent");
  expect(await layout.putBlob(layer.descriptor, () => pieces(bytes))).toBe("present");
  await layout.putBlob(config.descriptor, () => pieces(config.bytes));
  const digest = await layout.putManifest(manifest.bytes, mediaTypes.manifest, tag);
  expect(digest).toBe(manifest.descriptor.digest);
  return { path, digest };
}

describe("a layout that mos wrote", () => {
  it("is read by skopeo: what it is, and its configuration", async () => {
    const { path, digest } = await publishImage(await temporaryDirectory(), "1.0.0");
    const inspected = await run("skopeo", ["inspect", `oci:${path}:1.0.0`]);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      Digest: digest,
      Architecture: thisArchitecture(),
      Os: "linux",
      Env: runConfig.env,
    });
    const config = await run("skopeo", ["inspect", "--config", `oci:${path}:1.0.0`]);
    expect(JSON.parse(config.stdout)).toMatchObject({
      config: { User: "33:44", Entrypoint: ["/usr/bin/service"], Cmd: ["--verbose"], WorkingDir: "/srv" },
    });
  });

  it("is copied by skopeo, and the copy is read by mos with the same digests", async () => {
    const place = await temporaryDirectory();
    const { path, digest } = await publishImage(place, "1.0.0");
    await run("skopeo", ["copy", "--quiet", `oci:${path}:1.0.0`, `oci:${place}/copy:2.0.0`]);
    const copy = await Layout.open(join(place, "copy"));
    const fetched = await copy.manifest("2.0.0");
    expect(fetched.digest).toBe(digest);
    const image = parseManifest(fetched.bytes, "copy");
    const config = parseConfig(await copy.smallBlob(image.config, limits.config), "config");
    expect(config.config?.Entrypoint).toEqual(runConfig.entrypoint);
    for (const layer of image.layers) expect(await copy.hasBlob(layer)).toBe(true);
    const store = await Layout.create(join(place, "store"));
    for (const layer of image.layers) {
      await store.storeBlob(layer, copy);
      expect(digestOf(await readFile(store.blobPath(layer.digest)))).toBe(layer.digest);
    }
  });

  it("is listed and read by umoci, and changed by it without harm", async () => {
    const { path, digest } = await publishImage(await temporaryDirectory(), "1.0.0");
    expect((await run("umoci", ["ls", "--layout", path])).stdout.trim()).toBe("1.0.0");
    await run("umoci", ["stat", "--json", "--image", `${path}:1.0.0`]);
    await run("umoci", ["tag", "--image", `${path}:1.0.0`, "latest"]);
    await run("umoci", ["gc", "--layout", path]);
    const layout = await Layout.open(path);
    expect((await layout.manifest("latest")).digest).toBe(digest);
    expect((await layout.manifest("1.0.0")).digest).toBe(digest);
  });

  it("is a store as the device keeps it, whose names umoci lists", async () => {
    const { path, digest } = await publishImage(await temporaryDirectory(), "1.0.0");
    const layout = await Layout.open(path);
    const { size } = await layout.manifest(digest);
    const descriptor = { mediaType: mediaTypes.manifest, digest, size };
    await layout.setReferences([{ descriptor, name: digest }]);
    expect((await run("umoci", ["ls", "--layout", path])).stdout.trim()).toBe(digest);
  });

  it("survives umoci's collection of garbage with its untagged referrers", async () => {
    const { path, digest } = await publishImage(await temporaryDirectory(), "1.0.0");
    const layout = await Layout.open(path);
    const { size } = await layout.manifest(digest);
    const empty = new TextEncoder().encode("{}");
    const config = { mediaType: mediaTypes.empty, digest: digestOf(empty), size: 2 };
    await layout.putBlob(config, () => pieces(empty));
    const subject = { mediaType: mediaTypes.manifest, digest, size };
    const referrer = new TextEncoder().encode(
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers: [config], subject }),
    );
    await layout.putManifest(referrer, mediaTypes.manifest);
    await run("umoci", ["gc", "--layout", path]);
    expect((await layout.referrers(digest)).map((found) => found.digest)).toEqual([digestOf(referrer)]);
  });
});

describe("an image built twice", () => {
  it("has the same bytes, which say nothing of when", () => {
    const layer = {
      mediaType: "application/vnd.stacker.image.layer.squashfs+zstd+verity",
      digest: digestOf("layer"),
      size: 5,
      annotations: { b: "2", a: "1" },
    };
    const [one, two] = [
      buildImage([layer], runConfig),
      buildImage([{ ...layer, annotations: { a: "1", b: "2" } }], runConfig),
    ];
    expect(one).toEqual(two);
    expect(new TextDecoder().decode(one.config.bytes)).not.toContain("created");
  });
});

/** Runs in a mount namespace of its own, so that the small disk goes away with it whatever happens. */
const fullDisk = `
const [source, directory] = process.argv.slice(1);
const { Layout } = await import(${JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../src/oci/layout.ts")).href)});
const { run } = await import(${JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../src/system/process.ts")).href)});
const { readdir } = await import("node:fs/promises");
await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]);
const from = await Layout.open(source);
const to = await Layout.create(directory);
const blobs = JSON.parse(process.env.BLOBS);
const codes = [];
for (const blob of blobs) {
  codes.push(await to.storeBlob(blob, from).then(() => "stored", (error) => error.code));
}
console.log(JSON.stringify({ codes, files: await readdir(directory), blobs: await readdir(directory + "/blobs/sha256") }));
`;

describe("a full disk", () => {
  it("is named as such, leaves nothing of the blob, and what fits is still stored", async () => {
    const place = await temporaryDirectory();
    const source = await Layout.create(join(place, "source"));
    const contents = [randomBytes(8 * 1024 * 1024), randomBytes(200_000)];
    const blobs = contents.map((bytes) => ({ mediaType: "x", digest: digestOf(bytes), size: bytes.length }));
    for (const [at, blob] of blobs.entries()) {
      await source.putBlob(blob, () => pieces(contents[at] ?? new Uint8Array()));
    }
    await mkdir(join(place, "small"));
    const script = ["--no-warnings", "--input-type=module", "--eval", fullDisk];
    const paths = [join(place, "source"), join(place, "small")];
    const { stdout } = await run(
      "unshare",
      ["--map-root-user", "--mount", process.execPath, ...script, "--", ...paths],
      { env: { BLOBS: JSON.stringify(blobs) } },
    );
    expect(JSON.parse(stdout)).toEqual({
      codes: ["no-space", "stored"],
      files: expect.not.arrayContaining([expect.stringMatching(/^\.partial/)]),
      blobs: blobs.slice(1).map(({ digest }) => hexOf(digest)),
    });
    expect(await readdir(join(place, "small"))).toEqual([]);
  });
});
