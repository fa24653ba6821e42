// A large layer from a registry, by mos and by others.
import { createHash, randomBytes } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestFromHex } from "../src/oci/digest.ts";
import { mediaTypes } from "../src/oci/model.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { startRegistry } from "../test/integration/registry-fixture.ts";
import { peakMemory, type Timing, timeInTurn } from "./measure.ts";
import { type Bench, inTools, MiB, ms, node, ratio, type Subject } from "./subject.ts";

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

export async function fetching(bench: Bench): Promise<Subject> {
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
