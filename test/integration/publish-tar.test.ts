// Images of plain tar layers, as umoci and skopeo make them, published for devices: what a device will mount is what umoci
// unpacks. Hostile layers (A10, A20, A21) are refused.
import { createHash } from "node:crypto";
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MosError } from "../../src/errors/mos-error.ts";
import type { LayerFormat } from "../../src/layers/pack.ts";
import { parseManifestYaml } from "../../src/manifest/manifest-yaml.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type ImageManifest, parseConfig, parseManifest } from "../../src/oci/model.ts";
import { publish } from "../../src/publish/publish.ts";
import { signerOf } from "../../src/publish/sign.ts";
import { run } from "../../src/system/process.ts";
import type { Project } from "../../src/trust/keyset.ts";
import { temporaryDirectory } from "../support.ts";
import { type Made, paxRecord, tarOf } from "../unit/archives/tar-maker.ts";
import { make } from "../unit/trust/authority.ts";
import { isRoot } from "./layers-fixture.ts";
import { layoutDestination, projectOf } from "./publish-fixture.ts";

let work: string;
let project: Project;
/** What umoci makes of the image when it unpacks it. */
let oracle: string;

async function umoci(...args: string[]): Promise<void> {
  await run("umoci", args);
}

/** An image of two layers: files of all kinds, and then some of them deleted, replaced and changed. */
async function makeImage(image: string): Promise<void> {
  const bundle = join(work, "bundle");
  await umoci("init", "--layout", join(work, "image"));
  await umoci("new", "--image", image);
  await umoci(
    "config",
    "--image",
    image,
    "--config.entrypoint",
    "/bin/service",
    "--config.env",
    "A=1",
    "--config.user",
    "33",
  );
  await umoci("unpack", "--image", image, bundle);
  const root = join(bundle, "rootfs");
  await mkdir(join(root, "bin"));
  await writeFile(join(root, "bin/service"), "one\n", { mode: 0o755 });
  await link(join(root, "bin/service"), join(root, "bin/same"));
  await writeFile(join(root, "bin/su"), "su\n");
  await chmod(join(root, "bin/su"), 0o4755);
  await mkdir(join(root, "tmp"));
  await chmod(join(root, "tmp"), 0o1777);
  await mkdir(join(root, "data/deep/er"), { recursive: true });
  await writeFile(join(root, "data/deep/er/file"), "deep\n");
  await writeFile(join(root, "data/mine"), "mine\n");
  await chown(join(root, "data/mine"), 33, 44);
  await chown(join(root, "data/deep"), 70_000, 3_000_000);
  await symlink("../bin/service", join(root, "data/link"));
  await writeFile(join(root, `data/${"long".repeat(40)}`), "long\n");
  await writeFile(join(root, "data/ünï çödé"), "names\n");
  await writeFile(join(root, `data/x${"ü".repeat(80)}`), "long names\n");
  await mkdir(join(root, "replaced"));
  await writeFile(join(root, "replaced/old"), "old\n");
  await run("umoci", ["repack", "--image", image, bundle]);
  await rm(bundle, { recursive: true });
  await umoci("unpack", "--image", image, bundle);
  await rm(join(root, "data/mine"));
  await rm(join(root, "data/deep"), { recursive: true });
  await rm(join(root, "replaced"), { recursive: true });
  await mkdir(join(root, "replaced"));
  await writeFile(join(root, "replaced/new"), "new\n");
  await writeFile(join(root, "tmp/in-a-directory-of-below"), "x\n");
  await writeFile(join(root, "bin/other"), "other\n", { mode: 0o755 });
  await umoci("repack", "--image", image, bundle);
}

/** Lines of find, sorted, with whole seconds: umoci writes no more. */
function lines(text: string): string {
  const found = text.split("\n").filter((line) => line !== "");
  return found
    .map((line) => line.replace(/ ([0-9]+)\.[0-9]+ /, " $1 "))
    .sort()
    .join("\n");
}

async function listing(root: string): Promise<string> {
  const { stdout } = await run("find", [root, "-mindepth", "1", "-printf", "%P %y %#m %U %G %T@ %l\\n"]);
  return lines(stdout);
}

/** What the layers of a published image are when they are mounted one over the other. */
async function mounted(
  blobs: string,
  { layers }: ImageManifest,
): Promise<{ listing: string; content: string }> {
  const script = `
mount -t tmpfs tmpfs "$1"
cd "$1"; shift
i=0; lower=
for blob; do
  i=$((i+1)); mkdir l$i; mount -o loop,ro "$blob" l$i; lower=l$i\${lower:+:$lower}
done
mkdir up work root
mount -t overlay -o lowerdir=$lower,upperdir=up,workdir=work overlay root
find root -mindepth 1 -printf '%P %y %#m %U %G %T@ %l\\n'
echo =====
cd root; find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -type f -printf '%P %n\\n' | sort`;
  const place = await temporaryDirectory();
  const files = layers.map(({ digest }) => join(blobs, digest.slice("sha256:".length)));
  const { stdout } = await run("unshare", ["--mount", "sh", "-euc", script, "sh", place, ...files]);
  const [found = "", content = ""] = stdout.split("=====\n");
  return {
    listing: lines(found),
    content,
  };
}

async function published(source: string, format: LayerFormat = "squashfs", more = "") {
  const directory = await temporaryDirectory();
  const result = await publish({
    manifest: parseManifestYaml(
      `version: 1\nproduct: p\ntargets:\n  - {service_name: web, version: "1", source: "${source}"${more}}\n`,
      "manifest.yaml",
    ),
    baseDirectory: work,
    signers: [signerOf(project, false)],
    destination: layoutDestination(directory),
    format,
    patchFrom: [],
    created: "2026-01-01T00:00:00Z",
    onStep: () => undefined,
  });
  const blobs = join(directory, "blobs/sha256");
  const digest = result.targets[0]?.digest ?? "";
  const bytes = await readFile(join(blobs, digest.slice("sha256:".length)));
  const image = parseManifest(bytes, "image");
  const config = await readFile(join(blobs, image.config.digest.slice("sha256:".length)));
  return { digest, image, blobs, config: parseConfig(config, "config") };
}

/** A layout `hand:1` with one image of the given layers, made by hand. */
async function handMade(
  layers: readonly Buffer[],
  pack: "gzip" | "zstd" | "none" | "xz" = "none",
  diffId?: string,
): Promise<string> {
  const directory = await temporaryDirectory();
  const blobs = join(directory, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (bytes: Buffer, mediaType: string) => {
    const digest = digestOf(bytes);
    await writeFile(join(blobs, digest.slice("sha256:".length)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const suffix = { gzip: "+gzip", zstd: "+zstd", none: "", xz: "+xz" }[pack];
  const packed = layers.map((layer) =>
    pack === "gzip" ? gzipSync(layer) : pack === "zstd" ? zstdCompressSync(layer) : layer,
  );
  const descriptors = [];
  for (const layer of packed)
    descriptors.push(await put(layer, `application/vnd.oci.image.layer.v1.tar${suffix}`));
  const config = await put(
    json({
      ...{
        architecture: process.arch === "x64" ? "amd64" : process.arch,
        os: "linux",
        created: "2020-01-01T00:00:00Z",
      },
      config: { Entrypoint: ["/bin/service"], Labels: { who: "me" }, ExposedPorts: { "80/tcp": {} } },
      rootfs: { type: "layers", diff_ids: layers.map((layer) => diffId ?? digestOf(layer)) },
    }),
    "application/vnd.oci.image.config.v1+json",
  );
  const manifest = await put(
    json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config,
      layers: descriptors,
    }),
    "application/vnd.oci.image.manifest.v1+json",
  );
  await writeFile(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "1" } };
  await writeFile(join(directory, "index.json"), json({ schemaVersion: 2, manifests: [named] }));
  return `oci:${directory}:1`;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "published";
  } catch (error) {
    return error instanceof MosError ? error.code : `${error}`;
  }
}

const program: Made = { path: "bin/service", content: "x", mode: 0o755 };

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-tar-"));
  project = projectOf(await make({ issuer: await make({ ca: true }) }));
  if (!isRoot) return;
  await makeImage(join(work, "image:1"));
  for (const [format, args] of [
    ["zstd", ["--dest-compress", "--dest-compress-format", "zstd"]],
    ["plain", ["--dest-decompress"]],
  ] as const)
    await run("skopeo", [
      "--insecure-policy",
      "copy",
      ...args,
      `oci:${work}/image:1`,
      `oci:${work}/${format}:1`,
    ]);
  await umoci("unpack", "--image", join(work, "image:1"), join(work, "oracle"));
  oracle = join(work, "oracle/rootfs");
});

afterAll(() => rm(work, { recursive: true, force: true }));

describe.runIf(isRoot)("an image of tar layers that umoci has made", () => {
  it("becomes what umoci unpacks, each layer of it a layer: deletions, owners, modes, links and all", async () => {
    const { image, blobs, config } = await published("oci:image:1");
    expect(image.layers).toHaveLength(2);
    const found = await mounted(blobs, image);
    expect(found.listing).toBe(await listing(oracle));
    const { stdout } = await run("sh", [
      "-c",
      'cd "$1"; find . -type f -print0 | sort -z | xargs -0 sha256sum; find . -type f -printf "%P %n\\n" | sort',
      "sh",
      oracle,
    ]);
    expect(found.content).toBe(stdout);
    expect(config.config).toMatchObject({ Entrypoint: ["/bin/service"], User: "33" });
    expect(config.config?.Env).toContain("A=1");
  });

  it("becomes the same bytes again, packed with gzip, zstd or nothing", async () => {
    const { digest } = await published("oci:image:1");
    for (const source of ["oci:image:1", "oci:zstd:1", "oci:plain:1"])
      expect((await published(source)).digest).toBe(digest);
  });

  it("becomes EROFS where nothing is deleted, and the same tree", async () => {
    const { image, blobs } = await published("oci:image:1", "erofs");
    expect(image.layers.map(({ mediaType }) => /erofs|squashfs/.exec(mediaType)?.[0])).toEqual([
      "erofs",
      "squashfs",
    ]);
    expect((await mounted(blobs, image)).listing).toBe(await listing(oracle));
  });

  it("is pinned by the digest that its source has", async () => {
    const bytes = await readFile(join(work, "image/index.json"), "utf8");
    const [, digest = ""] = /"digest":\s*"(sha256:[0-9a-f]{64})"/.exec(bytes) ?? [];
    expect((await published("oci:image:1", "squashfs", `, digest: "${digest}"`)).image.layers).toHaveLength(
      2,
    );
    const other = digestOf(createHash("sha256").digest());
    expect(await codeOf(published("oci:image:1", "squashfs", `, digest: "${other}"`))).toBe(
      "digest-mismatch",
    );
  });
});

describe("a tar layer", () => {
  it("keeps what its image says of itself", async () => {
    const { config } = await published(await handMade([tarOf([program])], "gzip"));
    expect(config.config).toMatchObject({ Labels: { who: "me" }, ExposedPorts: { "80/tcp": {} } });
  });

  it.runIf(isRoot)(
    "leaves directories of the layers below as they are when it does not mention them",
    async () => {
      const one = tarOf([{ path: "tmp/", type: "5", mode: 0o1777 }, program]);
      const two = tarOf([{ path: "tmp/deep/file", content: "x" }]);
      const { image, blobs } = await published(await handMade([one, two], "zstd"));
      const { listing: found } = await mounted(blobs, image);
      expect(found).toMatch(/^tmp d 01777 0 0 /m);
      expect(found).toMatch(/^tmp\/deep d 0755 0 0 /m);
    },
  );

  it.runIf(isRoot)("that deletes a directory and has files in it shows nothing of the old one", async () => {
    const one = tarOf([program, { path: "d/old", content: "x" }]);
    const two = tarOf([
      { path: ".wh.d", content: "" },
      { path: "d/new", content: "x" },
    ]);
    const { image, blobs } = await published(await handMade([one, two]));
    const { listing: found } = await mounted(blobs, image);
    expect(found).toMatch(/^d\/new f/m);
    expect(found).not.toContain("d/old");
  });

  it.runIf(isRoot)("with file capabilities keeps them", async () => {
    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW (linux/capability.h).
    const value = Buffer.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).toString(
      "latin1",
    );
    const header = {
      path: "x",
      type: "x",
      content: Buffer.from(paxRecord("SCHILY.xattr.security.capability", value), "latin1"),
    };
    const { image, blobs } = await published(await handMade([tarOf([header, program])]));
    const blob = join(blobs, (image.layers[0]?.digest ?? "").slice("sha256:".length));
    const place = await temporaryDirectory();
    const script =
      'mount -o loop,ro "$1" "$2" && getcap -v "$2/bin/service" 2>/dev/null || tar --create --xattrs --xattrs-include=* --directory "$2" bin/service | tr -d "\\0" | grep -ac security.capability';
    const { stdout } = await run("unshare", ["--mount", "sh", "-c", script, "sh", blob, place]);
    expect(stdout).toMatch(/cap_net_raw|^1$/m);
  });

  it("of an image without changes is left out, and a file that is there twice is the last one", async () => {
    const twice = tarOf([
      { ...program, content: "first" },
      { ...program, content: "second" },
    ]);
    const { image } = await published(await handMade([tarOf([]), twice]));
    const { image: once } = await published(await handMade([tarOf([{ ...program, content: "second" }])]));
    expect(image.layers).toEqual(once.layers);
    expect(image.layers).toHaveLength(1);
  });

  const hostile: Readonly<Record<string, readonly Made[]>> = {
    "a path with ..": [{ path: "../../etc/cron.d/x", content: "x" }],
    "a hard link out of it": [{ path: "x", type: "1", target: "../../etc/shadow" }],
    "a hard link to what is not in it": [{ path: "x", type: "1", target: "etc/shadow" }],
    "a file below a link": [
      { path: "etc", type: "2", target: "/etc" },
      { path: "etc/cron", content: "x" },
    ],
    "a device that an overlay takes for a deletion": [{ path: "etc/passwd", type: "3" }],
    "an attribute of overlays": [
      { path: "x", type: "x", content: paxRecord("SCHILY.xattr.trusted.overlay.redirect", "/root") },
      { path: "d/", type: "5" },
    ],
    "a deletion of a parent": [{ path: "d/.wh...", content: "" }],
    "a deletion of everything": [{ path: ".wh..wh..opq", content: "" }],
    "a sparse file": [{ path: "x", type: "S" }],
    "a header for all": [{ path: "g", type: "g", content: paxRecord("path", "etc/passwd") }, program],
    "content of a directory": [{ path: "d/", type: "5", content: "x" }],
    "a root that is a file": [{ path: "/", type: "2", target: "/etc" }],
    "a name that is too long": [
      { path: "x", type: "x", content: paxRecord("path", "n".repeat(300)) },
      program,
    ],
  };
  for (const [what, members] of Object.entries(hostile))
    it(`is refused with ${what} (A21)`, async () => {
      expect(await codeOf(published(await handMade([tarOf([program, ...members])])))).toBe("archive-refused");
    });

  it("is refused when it is not the one of the image's configuration, or cut off", async () => {
    const tar = tarOf([program]);
    expect(await codeOf(published(await handMade([tar], "gzip", digestOf(Buffer.from("other")))))).toBe(
      "digest-mismatch",
    );
    expect(await codeOf(published(await handMade([tar.subarray(0, 700)])))).toBe("archive-refused");
  });

  it("packed in a way that nobody has agreed on is refused", async () => {
    expect(await codeOf(published(await handMade([tarOf([program])], "xz")))).toBe("layer-unsupported");
  });

  it("that unpacks to far more than any content would is refused (A10)", async () => {
    const bomb = tarOf([program, { path: "zeros", content: Buffer.alloc(400 * 1024 * 1024) }]);
    for (const pack of ["gzip", "zstd"] as const)
      expect(await codeOf(published(await handMade([bomb], pack)))).toBe("too-large");
  });

  it("leaves nothing in the destination when it is refused", async () => {
    const directory = await temporaryDirectory();
    const source = await handMade([tarOf([{ path: "../x", content: "x" }])]);
    await publish({
      manifest: parseManifestYaml(
        `version: 1\nproduct: p\ntargets:\n  - {service_name: web, version: "1", source: "${source}"}\n`,
        "m",
      ),
      baseDirectory: work,
      signers: [signerOf(project, false)],
      destination: layoutDestination(directory),
      format: "squashfs",
      patchFrom: [],
      created: "2026-01-01T00:00:00Z",
      onStep: () => undefined,
    }).catch(() => undefined);
    expect(await readdir(directory)).toEqual([]);
  });
});
