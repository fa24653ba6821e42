// ./dev bench: what mos costs, next to what others cost for the same work on the same bytes in the same minutes.
// It measures and prints; it judges nothing and fails for nothing but a wrong result.
import { createHash, randomBytes } from "node:crypto";
import { cp, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { allPairs, fetchCandidates } from "../src/agent/signed-manifest.ts";
import { addGeneration, makeCurrent } from "../src/generation/generations.ts";
import { parseManifestYaml } from "../src/manifest/manifest-yaml.ts";

import { digestFromHex } from "../src/oci/digest.ts";
import { mediaTypes } from "../src/oci/model.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { publish } from "../src/publish/publish.ts";
import { signerOf } from "../src/publish/sign.ts";
import { run } from "../src/system/process.ts";
import { loadAnchors } from "../src/trust/anchors.ts";
import { addKeyset, addProject, openProject } from "../src/trust/keyset.ts";
import { verifyManifest } from "../src/trust/manifest-signature.ts";
import { startRegistry } from "../test/integration/registry-fixture.ts";
import { buildExecutable } from "../tools/build.ts";
import { registryRoot, toolsRoot } from "../tools/roots.ts";
import { say } from "../tools/say.ts";
import { checkout } from "../tools/stamp.ts";
import { bootOfAMachine } from "./boot.ts";
import { deltaOfAnUpdate } from "./delta.ts";
import { imageBuilds } from "./image.ts";
import { type Figure, figure, peakMemory, type Timing, timeInTurn } from "./measure.ts";
import { services } from "./services.ts";
import { signedFiles } from "./signed.ts";
import { tpmOperations } from "./tpm.ts";
import { trustOfABoot } from "./trust.ts";
import { updates } from "./update.ts";

const MiB = 1024 * 1024;
const node = join(checkout, "node_modules/.bin/node");

interface Bench {
  readonly work: string;
  readonly mos: string;
  readonly children: string;
  readonly tools: string;
}

type Rows = readonly (readonly string[])[];
interface Subject {
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: Rows;
}

const ms = ({ median, min, max }: Figure): string =>
  `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
const ratio = (a: Figure, b: Figure): string => (a.median / b.median).toFixed(2);

/** A command of the tools root, with the work directory at /machine there. */
function inTools({ tools, work }: Bench, ...argv: string[]): string[] {
  const script =
    'mount --bind "$1" "$1" && mount --bind "$2" "$1/machine" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/tmp" && mount -t tmpfs tmpfs "$1/run" && mount -t sysfs sys "$1/sys" && t=$1 && shift 2 && exec chroot "$t" "$@"';
  return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", tools, work, ...argv];
}

async function startUp({ mos }: Bench): Promise<Subject> {
  const sides = {
    "node -e 0": { argv: [node, "-e", "0"] },
    "mosctl --version": { argv: [mos, "mosctl", "--version"] },
    "mosctl status (nothing applied)": { argv: [mos, "mosctl", "status"] },
  };
  const timings = await timeInTurn(sides, 15);
  const rows = await Promise.all(
    Object.entries(sides).map(async ([name, { argv }]) => {
      const timing = timings[name as keyof typeof sides];
      const peak = await peakMemory(argv);
      return [
        name,
        ms(timing.wall),
        ms(timing.cpu),
        ratio(timing.cpu, timings["node -e 0"].cpu),
        `${(peak / MiB).toFixed(0)} MiB`,
      ];
    }),
  );
  const size = (await stat(mos)).size;
  return {
    title: `Start (the executable has ${(size / MiB).toFixed(1)} MiB)`,
    headings: ["command", "wall ms", "CPU ms", "CPU ratio", "peak memory"],
    rows,
  };
}

/** A device with `count` services in its current generation. */
async function stageDevice(bench: Bench, count: number): Promise<string> {
  const root = join(bench.work, `device-${count}`);
  const keys = join(bench.work, "keys");
  const targets: string[] = [];
  for (let i = 0; i < count; i++) {
    const tree = join(bench.work, "trees", String(i));
    await mkdir(tree, { recursive: true });
    await writeFile(join(tree, "server"), `service ${i}`, { mode: 0o755 });
    targets.push(
      `  - {service_name: s${i}, source: "rootfs:${tree}", version: "1", nsgroup: g${i}, image: {entrypoint: [/server]}, network: {type: simple, ports: [{host: ${10_000 + i}, container: 80}]}}`,
    );
  }
  const manifest = parseManifestYaml(
    `version: 1\nproduct: bench\ntargets:\n${targets.join("\n")}\n`,
    "bench.yaml",
  );
  const reference = parseReference(`oci:${join(root, "state/oci")}:1`);
  const opened = openWritable(reference);
  const project = await openProject(keys, "bench:zot");
  await mkdir(join(root, "state"), { recursive: true });
  await publish({
    manifest,
    baseDirectory: bench.work,
    signers: [signerOf(project, false)],
    destination: { ...opened, tag: "1" },
    format: "squashfs",
    patchFrom: [],
    created: "2026-01-01T00:00:00Z",
    onStep: () => undefined,
  });
  await cp(join(keys, "bench/manifest-ca/cert.pem"), join(root, "ca.pem"));
  const candidates = await fetchCandidates(opened.install, "1");
  const parts = { manifest: candidates.manifest, signatures: [...allPairs(candidates)], bases: [] };
  const places = { state: join(root, "state"), run: join(root, "run") };
  const number = await addGeneration(places, parts, {
    version: 1,
    reference: "bench",
    acceptedAt: "2026-01-01T00:00:00Z",
    trustRecords: 0,
  });
  await makeCurrent(places, number);
  return root;
}

interface BootAnswer {
  readonly start: number;
  readonly startCpu: number;
  readonly verify: number;
  readonly render: number;
  readonly write: number;
  readonly cpu: number;
  readonly units: number;
}

async function bootAgent(bench: Bench): Promise<Subject> {
  const rows: string[][] = [];
  for (const count of [1, 10, 50]) {
    const root = await stageDevice(bench, count);
    const answers: BootAnswer[] = [];
    for (let i = 0; i < 11; i++) {
      await rm(join(root, "units"), { recursive: true, force: true });
      const { stdout } = await run(node, [bench.children, "boot", root]);
      if (i > 0) answers.push(JSON.parse(stdout) as BootAnswer);
    }
    const of = (key: keyof BootAnswer): string => ms(figure(answers.map((answer) => answer[key])));
    rows.push([
      `${count}`,
      `${answers[0]?.units}`,
      of("start"),
      of("verify"),
      of("render"),
      of("write"),
      of("cpu"),
      of("startCpu"),
    ]);
  }
  return {
    title: "Agent at boot, up to where systemd takes over",
    headings: [
      "services",
      "unit files",
      "start ms",
      "verify ms",
      "render ms",
      "write ms",
      "CPU ms beyond start",
      "CPU ms of start",
    ],
    rows,
  };
}

/** An image with one layer of random bytes in a registry; every client can fetch it. */
async function pushImage(authority: string, bytes: number): Promise<string> {
  const content = randomBytes(bytes);
  const reference = `http://${authority}/bench:${bytes}`;
  const { install } = openWritable(parseReference(reference));
  const layer = {
    mediaType: `${mediaTypes.tarLayer}+gzip`,
    digest: digestFromHex(createHash("sha256").update(content).digest("hex")),
    size: bytes,
  };
  const config = new TextEncoder().encode(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    }),
  );
  const configDigest = digestFromHex(createHash("sha256").update(config).digest("hex"));
  await install.putBlob(layer, async function* () {
    yield content;
  });
  const configDescriptor = { mediaType: mediaTypes.config, digest: configDigest, size: config.length };
  await install.putBlob(configDescriptor, async function* () {
    yield config;
  });
  const title = { "org.opencontainers.image.title": "layer" };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: configDescriptor,
    layers: [{ ...layer, annotations: title }],
  };
  await install.putManifest(
    new TextEncoder().encode(JSON.stringify(manifest)),
    mediaTypes.manifest,
    `${bytes}`,
  );
  return reference;
}

async function fetching(bench: Bench): Promise<Subject> {
  const registry = await startRegistry();
  try {
    const bytes = 150_000_000;
    const reference = await pushImage(registry.authority, bytes);
    const { install } = openWritable(parseReference(reference));
    const layer =
      (
        JSON.parse(new TextDecoder().decode((await install.manifest(`${bytes}`)).bytes)) as {
          layers: { digest: string }[];
        }
      ).layers[0]?.digest ?? "";
    const clean = (name: string) => async () =>
      await rm(join(bench.work, name), { recursive: true, force: true });
    const hasLayer = (name: string) => async () => {
      const blob = join(bench.work, name, "blobs/sha256", layer.slice("sha256:".length));
      if ((await stat(blob)).size !== bytes) throw new Error(`${name} is not whole`);
    };
    const url = `http://${registry.authority}/v2/bench/blobs/${layer}`;
    const name = `${registry.authority}/bench:${bytes}`;
    const sides = {
      "mos (fetch, verify, store, fsync)": {
        argv: [node, bench.children, "fetch", reference, join(bench.work, "by-mos")],
        prepare: clean("by-mos"),
        check: hasLayer("by-mos"),
      },
      "curl | sha256sum (nothing stored)": {
        argv: inTools(bench, "sh", "-c", `curl -s ${url} | sha256sum | grep -q ${layer.slice(7)}`),
      },
      "skopeo copy": {
        argv: inTools(
          bench,
          "skopeo",
          "copy",
          "--quiet",
          "--preserve-digests",
          "--src-tls-verify=false",
          `docker://${name}`,
          "oci:/machine/by-skopeo:x",
        ),
        prepare: clean("by-skopeo"),
        check: hasLayer("by-skopeo"),
      },
      "oras pull": {
        argv: inTools(bench, "oras", "pull", "--plain-http", "-o", "/machine/by-oras", name),
        prepare: clean("by-oras"),
      },
    };
    const timings = await timeInTurn(sides, 5);
    const mine = timings["mos (fetch, verify, store, fsync)"];
    const rows = (Object.entries(timings) as [string, Timing][]).map(([side, timing]) => [
      side,
      ms(timing.wall),
      ms(timing.cpu),
      ratio(mine.wall, timing.wall),
    ]);
    const memory: string[] = [];
    let base = 0;
    for (const size of [1_000_000, 150_000_000, 600_000_000]) {
      const from = size === bytes ? reference : await pushImage(registry.authority, size);
      await clean("by-mos")();
      const peak = await peakMemory([node, bench.children, "fetch", from, join(bench.work, "by-mos")]);
      base ||= peak;
      memory.push(
        `${size / 1_000_000} MB: ${(peak / MiB).toFixed(0)} MiB, +${((peak - base) / MiB).toFixed(1)}`,
      );
    }
    return {
      title: `A layer of 150 MB from a registry on loopback; peak memory of mos by layer size — ${memory.join("; ")}`,
      headings: ["client", "wall ms", "CPU ms", "mos/other"],
      rows,
    };
  } finally {
    await registry.stop();
  }
}

async function makeRaucBundle(bench: Bench): Promise<void> {
  const input = join(bench.work, "rauc-in");
  await mkdir(input, { recursive: true });
  await writeFile(join(input, "rootfs.img"), randomBytes(4 * MiB));
  await writeFile(
    join(input, "manifest.raucm"),
    "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.img\n",
  );
  const subject = ["-subj", "/O=bench/CN=bench"];
  await run("openssl", [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "30",
    ...subject,
    "-keyout",
    join(bench.work, "rauc.key"),
    "-out",
    join(bench.work, "rauc.crt"),
  ]);
  const [program = "", ...args] = inTools(
    bench,
    "rauc",
    "bundle",
    "--cert=/machine/rauc.crt",
    "--key=/machine/rauc.key",
    "/machine/rauc-in",
    "/machine/bench.raucb",
  );
  await run(program, args);
}

async function verification(bench: Bench): Promise<Subject> {
  const layout = join(bench.work, "device-10/state/oci");
  const ca = join(bench.work, "device-10/ca.pem");
  await makeRaucBundle(bench);
  const timings = await timeInTurn(
    {
      "mosctl verify --offline-images": {
        argv: [bench.mos, "mosctl", "verify", `oci:${layout}:1`, "--ca", ca, "--offline-images"],
      },
      "rauc info (verity bundle)": {
        argv: inTools(bench, "rauc", "info", "--keyring=/machine/rauc.crt", "/machine/bench.raucb"),
      },
      "node -e 0": { argv: [node, "-e", "0"] },
    },
    11,
  );
  const { install } = openWritable(parseReference(`oci:${layout}:1`));
  const firmware = { efiDb: async () => undefined, tpmNv: async () => undefined };
  const anchors = await loadAnchors([`file:${ca}`], { initrd: "/nonexistent", firmware });
  const root = { ...anchors, revoked: new Set<string>(), threshold: 1 };
  const candidates = await fetchCandidates(install, "1");
  const times = Array.from({ length: 200 }, () => {
    const start = performance.now();
    verifyManifest(candidates.manifest, allPairs(candidates), root, { kind: "ignore" });
    return performance.now() - start;
  });
  const rows = (Object.entries(timings) as [string, Timing][]).map(([side, timing]) => [
    side,
    ms(timing.wall),
    ms(timing.cpu),
  ]);
  return {
    title: `Verification of a signed manifest of 10 services (in a warm process: ${figure(times).median.toFixed(2)} ms)`,
    headings: ["command", "wall ms", "CPU ms"],
    rows,
  };
}

/** From a registry to a tree that can be read: Debian's docker-registry and what it needs, 51 MB of files. */
async function readableTree(bench: Bench): Promise<Subject> {
  const registry = await startRegistry();
  try {
    const root = await registryRoot();
    const yaml = `version: 1\nproduct: bench\ntargets:\n  - {service_name: tree, source: "rootfs:${root}", version: "1", service_type: fs-only}\n`;
    const project = await openProject(join(bench.work, "keys"), "bench:zot");
    const opened = openWritable(parseReference(`http://${registry.authority}/machine/install:1`));
    const { targets } = await publish({
      manifest: parseManifestYaml(yaml, "tree.yaml"),
      baseDirectory: bench.work,
      signers: [signerOf(project, false)],
      destination: { ...opened, tag: "1" },
      format: "squashfs",
      patchFrom: [],
      created: "2026-01-01T00:00:00Z",
      onStep: () => undefined,
    });
    const layout = join(bench.work, "plain");
    await run("umoci", ["init", "--layout", layout]);
    await run("umoci", ["new", "--image", `${layout}:x`]);
    await run("umoci", ["insert", "--image", `${layout}:x`, root, "/"]);
    const plain = `${registry.authority}/plain:1`;
    await run("skopeo", [
      "copy",
      "--quiet",
      "--dest-tls-verify=false",
      `oci:${layout}:x`,
      `docker://${plain}`,
    ]);
    const hex = (targets[0]?.digest ?? "").slice("sha256:".length);
    const tree = join(bench.work, "tree");
    const script = `"$1" "$2" fetch "$3" "$4" && mkdir -p "$5" && for blob in "$4"/blobs/sha256/*; do mount -o ro,loop -t squashfs "$blob" "$5" 2>/dev/null && break; done && test -x "$5/usr/bin/docker-registry"`;
    const reference = `http://${registry.authority}/mos:${hex}`;
    const mine = [
      "unshare",
      "--mount",
      "sh",
      "-c",
      script,
      "sh",
      node,
      bench.children,
      reference,
      join(tree, "oci"),
      join(tree, "root"),
    ];
    const clean = (name: string) => async () =>
      await rm(join(bench.work, name), { recursive: true, force: true });
    const storage = [
      "--root",
      "/machine/podman/root",
      "--runroot",
      "/machine/podman/run",
      "--storage-driver",
      "overlay",
    ];
    const timings = await timeInTurn(
      {
        "mos (fetch, verify, store) and mount": { argv: mine, prepare: clean("tree") },
        "podman pull (overlay, gzip tar)": {
          argv: inTools(bench, "podman", ...storage, "pull", "--quiet", "--tls-verify=false", plain),
          prepare: clean("podman"),
        },
      },
      5,
    );
    const rows = (Object.entries(timings) as [string, Timing][]).map(([side, { wall, cpu }]) => [
      side,
      ms(wall),
      ms(cpu),
    ]);
    return {
      title: "Registry to readable tree (51 MB of files; squashfs mounted without dm-verity)",
      headings: ["client", "wall ms", "CPU ms"],
      rows,
    };
  } finally {
    await registry.stop();
  }
}

function show({ title, headings, rows }: Subject): string {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  return `\n${title}\n${[line(headings), ...rows.map(line)].map((text) => `  ${text}`).join("\n")}\n`;
}

/** Runs the benchmarks of these names, or all; median (min–max). */
export async function bench({ json, only }: { readonly json: boolean; readonly only: readonly string[] }) {
  const work = await mkdtemp(join(tmpdir(), "mos-bench-"));
  try {
    const children = join(work, "children.cjs");
    await build({
      entryPoints: [join(checkout, "bench/children.ts")],
      bundle: true,
      platform: "node",
      format: "cjs",
      minify: true,
      target: "node26",
      outfile: children,
      logLevel: "error",
    });
    const subject: Bench = {
      work,
      children,
      mos: await buildExecutable("release"),
      tools: await toolsRoot(),
    };
    const keys = join(work, "keys");
    await addKeyset({ root: keys, name: "bench", organizations: [], keyType: "rsa2048" });
    await addProject(keys, "bench", "zot");
    const subjects: Subject[] = [];
    const measurements = [
      ["start", startUp],
      ["boot", bootAgent],
      ["machine", bootOfAMachine],
      ["verification", verification],
      ["trust", async ({ work: directory }: Bench) => await trustOfABoot(directory)],
      ["tpm", async ({ work }: Bench) => await tpmOperations(work)],
      ["fetching", fetching],
      ["tree", readableTree],
      ["updates", async (of: Bench) => await updates({ ...of, node })],
      ["services", services],
      ["image", async ({ work: directory }: Bench) => await imageBuilds(directory)],
      ["delta", async ({ work: directory }: Bench) => await deltaOfAnUpdate(directory)],
      [
        "signed",
        async ({ mos, work: directory }: Bench) => {
          const all: Subject[] = [];
          for await (const one of signedFiles(mos, join(directory, "signed"))) all.push(one);
          return all;
        },
      ],
    ] as const;
    const unknown = only.find((name) => !measurements.some(([known]) => known === name));
    if (unknown !== undefined) {
      throw new Error(`there is no benchmark ${unknown}: ${measurements.map(([known]) => known).join(", ")}`);
    }
    for (const [name, measure] of measurements) {
      if (only.length > 0 && !only.includes(name)) continue;
      say(`measuring: ${name}`);
      const measured = await measure(subject);
      for (const result of Array.isArray(measured) ? measured : [measured]) {
        subjects.push(result);
        if (!json) process.stdout.write(show(result));
      }
    }
    if (json) process.stdout.write(`${JSON.stringify(subjects, null, 2)}\n`);
    return true;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
