// Whether a manifest may be applied, next to what RAUC does with a bundle.
import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { allPairs, fetchCandidates } from "../src/agent/signed-manifest.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { run } from "../src/system/process.ts";
import { loadAnchors } from "../src/trust/anchors.ts";
import { verifyManifest } from "../src/trust/manifest-signature.ts";
import { figure, type Timing, timeInTurn } from "./measure.ts";
import { stageDevice } from "./staged-device.ts";
import { type Bench, inTools, MiB, ms, node, type Subject } from "./subject.ts";

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

export async function verification(bench: Bench): Promise<Subject> {
  const root = await stageDevice(bench, 10, "verified");
  const layout = join(root, "state/oci");
  const ca = join(root, "ca.pem");
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
  const trusted = { ...anchors, revoked: new Set<string>(), threshold: 1 };
  const candidates = await fetchCandidates(install, "1");
  const times = Array.from({ length: 200 }, () => {
    const start = performance.now();
    verifyManifest(candidates.manifest, allPairs(candidates), trusted, { kind: "ignore" });
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
