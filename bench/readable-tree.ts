// From a registry to files that can be read, by mos and by podman.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { parseManifestYaml } from "../src/manifest/manifest-yaml.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { publish } from "../src/publish/publish.ts";
import { signerOf } from "../src/publish/sign.ts";
import { run } from "../src/system/process.ts";
import { openProject } from "../src/trust/keyset.ts";
import { startRegistry } from "../test/integration/registry-fixture.ts";
import { registryRoot } from "../tools/roots.ts";
import { type Timing, timeInTurn } from "./measure.ts";
import { type Bench, inTools, ms, node, type Subject } from "./subject.ts";

/** From a registry to a tree that can be read: Debian's docker-registry and what it needs, 51 MB of files. */
export async function readableTree(bench: Bench): Promise<Subject> {
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
