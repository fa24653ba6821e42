// A device in a directory, with signed services in its current generation.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { allPairs, fetchCandidates } from "../src/agent/signed-manifest.ts";
import { addGeneration, makeCurrent } from "../src/generation/generations.ts";
import { parseManifestYaml } from "../src/manifest/manifest-yaml.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { publish } from "../src/publish/publish.ts";
import { signerOf } from "../src/publish/sign.ts";
import { openProject } from "../src/trust/keyset.ts";
import type { Bench } from "./subject.ts";

/** A device with `count` services in its current generation. */
export async function stageDevice(bench: Bench, count: number, name = `device-${count}`): Promise<string> {
  const root = join(bench.work, name);
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
