// Publishing as a user does it, by the commands; and what the other programs of the field say to the result.
import { mkdir, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunResult, run } from "../../src/system/process.ts";
import { hasSeedVectors, seedCa, seedLayout, temporaryDirectory } from "../support.ts";
import { startRegistry } from "./registry-fixture.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const anyExit = [0, 1, 2, 3, 4, 5, 6, 7, 8];

let registry: Awaited<ReturnType<typeof startRegistry>>;
let work: string;

/** Calls one of the names, with JSON answers. */
async function mos(...args: string[]): Promise<RunResult> {
  return await run(process.execPath, [main, ...args], {
    accept: anyExit,
    env: { MOS_KEYSETS: join(work, "keys") },
  });
}

interface Answer {
  readonly outcome: string;
  readonly manifestDigest: string;
  readonly artifactDigest: string;
  readonly targets: readonly { readonly digest: string }[];
}

async function answerOf(result: Promise<RunResult>): Promise<Answer> {
  const { exitCode, stdout, stderr } = await result;
  if (exitCode !== 0) throw new Error(`${stdout}${stderr}`);
  return JSON.parse(stdout) as Answer;
}

async function errorOf(result: Promise<RunResult>): Promise<{ code: string; exitCode: number }> {
  const { exitCode, stdout } = await result;
  return { code: (JSON.parse(stdout) as { error: { code: string } }).error.code, exitCode };
}

/** A tree with a file of each kind; what its time stamps are must not matter. */
async function makeTree(path: string, time: number): Promise<void> {
  await mkdir(join(path, "usr/bin"), { recursive: true });
  await writeFile(join(path, "usr/bin/server"), "a program\n", { mode: 0o755 });
  await symlink("server", join(path, "usr/bin/link"));
  for (const name of ["usr/bin/server", "usr/bin", "usr", "."]) await utimes(join(path, name), time, time);
}

async function manifestFile(directory: string, source: string, extra = ""): Promise<string> {
  const file = join(directory, "manifest.yaml");
  const image = source.startsWith("rootfs:") ? "image: {entrypoint: [/usr/bin/server]}" : "";
  await writeFile(
    file,
    `version: 1\nproduct: p\ntargets:\n  - service_name: web\n    source: "${source}"\n    version: "1"\n    ${image}\n${extra}`,
  );
  return file;
}

function publish(file: string, name: string, ...more: string[]): Promise<RunResult> {
  return mos(
    "mosb",
    "manifest",
    "publish",
    "--json",
    "--project",
    "rsa:zot",
    "--repo",
    registry.authority,
    "--name",
    name,
    ...more,
    file,
  );
}

beforeAll(async () => {
  const { mkdtemp } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  work = await mkdtemp(join(tmpdir(), "mos-publish-"));
  registry = await startRegistry();
  for (const [name, type] of [
    ["rsa", "rsa2048"],
    ["ec", "p256"],
  ] as const) {
    await mos("trust", "keyset", "add", name, "--key-type", type);
    await mos("trust", "project", "add", name, "zot");
  }
});

afterAll(async () => {
  await registry.stop();
  const { rm } = await import("node:fs/promises");
  await rm(work, { recursive: true, force: true });
});

describe("mosb manifest publish", () => {
  it("changes nothing when it publishes the same again, from another directory with other times", async () => {
    const [one, two] = [await temporaryDirectory(), await temporaryDirectory()];
    await makeTree(join(one, "root"), 1_000_000_000);
    await makeTree(join(two, "root"), 1_700_000_000);
    for (const project of ["rsa:zot", "ec:zot"]) {
      const name = `machine/${project.replace(":", "-")}:1`;
      const call = (file: string) =>
        answerOf(
          mos(
            "mosb",
            "manifest",
            "publish",
            "--json",
            "--project",
            project,
            "--repo",
            registry.authority,
            "--name",
            name,
            file,
          ),
        );
      const first = await call(await manifestFile(one, "rootfs:root"));
      const second = await call(await manifestFile(two, "rootfs:root"));
      expect(first.outcome).toBe("published");
      expect(second).toEqual({ ...first, outcome: "unchanged", sentBytes: 0 });
    }
  });

  it("publishes to a registry and a directory at once, the same artifacts", async () => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    const file = await manifestFile(directory, "rootfs:root");
    const args = ["--created", "2026-01-01T00:00:00Z", "--dest", `oci:${join(directory, "out")}`];
    const { exitCode, stdout } = await publish(file, "machine/both:1", ...args);
    expect(exitCode).toBe(0);
    const [one, two] = JSON.parse(stdout) as Answer[];
    expect(two?.artifactDigest).toBe(one?.artifactDigest);
    expect(two?.targets).toEqual(one?.targets);
  });

  it("is read by skopeo and umoci, and its layer by veritysetup", async () => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    const file = await manifestFile(directory, "rootfs:root");
    const { targets } = await answerOf(publish(file, "machine/read:1"));
    const hex = (targets[0]?.digest ?? "").slice("sha256:".length);
    const image = `docker://${registry.authority}/mos:${hex}`;
    const layout = join(directory, "copy");
    await run("skopeo", ["copy", "--quiet", "--src-tls-verify=false", image, `oci:${layout}:copy`]);
    expect((await run("umoci", ["list", "--layout", layout])).stdout).toContain("copy");
    const raw = JSON.parse((await run("skopeo", ["inspect", "--raw", `oci:${layout}:copy`])).stdout);
    const [layer] = raw.layers;
    expect(layer.mediaType).toMatch(/^application\/vnd\.stacker\.image\.layer\.squashfs\+zstd/);
    const rootHash = layer.annotations["io.stackeroci.stacker.atomfs_verity_root_hash"];
    expect(layer.annotations["io.stackeroci.stacker.squashfs_verity_root_hash"]).toBe(rootHash);
    const blob = join(layout, "blobs/sha256", layer.digest.slice("sha256:".length));
    const used = (await readFile(blob)).readBigUInt64LE(40);
    const offset = (Number(used) + 4095) & ~4095;
    await run("veritysetup", ["verify", blob, blob, rootHash, `--hash-offset=${offset}`]);
  });

  it.each(["rsa", "ec"])("makes a signature that openssl verifies, with %s keys", async (keyset) => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    const file = await manifestFile(directory, "rootfs:root");
    const dest = join(directory, "out");
    await answerOf(
      mos(
        "mosb",
        "manifest",
        "publish",
        "--json",
        "--project",
        `${keyset}:zot`,
        "--dest",
        `oci:${dest}`,
        "--name",
        "x:1",
        file,
      ),
    );
    const index = JSON.parse(await readFile(join(dest, "index.json"), "utf8"));
    const blobOf = async (type: string): Promise<string> => {
      for (const { digest } of index.manifests) {
        const manifest = JSON.parse(await readFile(join(dest, "blobs/sha256", digest.slice(7)), "utf8"));
        if (manifest.artifactType === type)
          return join(dest, "blobs/sha256", manifest.layers[0].digest.slice(7));
      }
      throw new Error(`no ${type}`);
    };
    const certificate = await blobOf("application/vnd.machine.pubkeycrt");
    const { stdout } = await run("openssl", ["x509", "-in", certificate, "-noout", "-pubkey"]);
    await writeFile(join(directory, "key.pub"), stdout);
    const signature = await blobOf("application/vnd.machine.signature");
    const message = await blobOf("application/vnd.machine.install");
    const args = ["dgst", "-sha256", "-verify", join(directory, "key.pub"), "-signature", signature, message];
    expect((await run("openssl", args)).stdout).toContain("Verified OK");
  });

  it("copies an image from a layout with its digest, and packs EROFS and tar files", async () => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    await run("tar", [
      "--create",
      "--file",
      join(directory, "root.tar"),
      "--directory",
      join(directory, "root"),
      ".",
    ]);
    const file = await manifestFile(directory, "rootfs:root.tar");
    const dest = join(directory, "out");
    const args = ["--dest", `oci:${dest}`, "--name", "x:1", "--layer-format", "erofs"];
    const { targets } = await answerOf(
      mos("mosb", "manifest", "publish", "--json", "--project", "rsa:zot", ...args, file),
    );
    const hex = (targets[0]?.digest ?? "").slice("sha256:".length);
    const copied = await manifestFile(directory, `oci:${dest}:${hex}`);
    expect((await answerOf(publish(copied, "machine/copied:1"))).targets).toMatchObject([
      { digest: targets[0]?.digest },
    ]);
  });

  it.each([
    ["a source that is not there", "rootfs:nothing-here", "", "source-invalid", 3],
    ["a source of no known kind", "https://example.com/x", "", "source-invalid", 3],
    [
      "a digest that the source does not have",
      "rootfs:root",
      `    digest: sha256:${"0".repeat(64)}\n`,
      "digest-mismatch",
      4,
    ],
    [
      "a path to stay read-only that its root does not have",
      "rootfs:root",
      "    security: { read_only_paths: [/usr/bin/sever] }\n",
      "source-invalid",
      3,
    ],
    [
      "a path to stay read-only that is a symlink",
      "rootfs:root",
      "    security: { read_only_paths: [/usr/bin/server, /usr/bin/link] }\n",
      "source-invalid",
      3,
    ],
    ["an unknown key", "rootfs:root", "    verison: 1\n", "manifest-invalid", 3],
  ])("refuses %s", async (_what, source, extra, code, exitCode) => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    expect(await errorOf(publish(await manifestFile(directory, source, extra), "machine/bad:1"))).toEqual({
      code,
      exitCode,
    });
  });

  it("fails when the registry cannot be reached, and says so", async () => {
    const directory = await temporaryDirectory();
    await makeTree(join(directory, "root"), 0);
    const file = await manifestFile(directory, "rootfs:root");
    const args = ["--project", "rsa:zot", "--repo", "127.0.0.1:1", "--name", "x:1", file];
    expect(await errorOf(mos("mosb", "manifest", "publish", "--json", ...args))).toEqual({
      code: "registry-unreachable",
      exitCode: 5,
    });
  });
});

describe.skipIf(!hasSeedVectors)("mosctl verify", () => {
  const seed = `oci:${seedLayout}:1.0.0`;

  it("accepts the published set of seed 004, and says that its images were not at hand", async () => {
    const { exitCode, stdout } = await mos("mosctl", "verify", seed, "--ca", seedCa, "--offline-images");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("NOT checked");
  });

  it("does not accept it where the images are asked for and not there", async () => {
    expect(await errorOf(mos("mosctl", "verify", seed, "--ca", seedCa, "--json"))).toEqual({
      code: "not-found",
      exitCode: 5,
    });
  });

  it("does not accept it under another CA", async () => {
    const ca = join(work, "keys/rsa/manifest-ca/cert.pem");
    expect(await errorOf(mos("mosctl", "verify", seed, "--ca", ca, "--offline-images", "--json"))).toEqual({
      code: "chain-untrusted",
      exitCode: 4,
    });
  });
});
