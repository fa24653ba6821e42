// What building an OS image costs, step by step, and how large it is: from a root that is there, without the time that
// Debian's mirrors take.
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { buildImage } from "../src/image/build-image.ts";
import { parseImageDescription } from "../src/image/description.ts";
import { prepareImage } from "../test/integration/image-fixture.ts";
import type { Subject } from "./subject.ts";

const MiB = 1024 * 1024;

/** @param work a directory with room for some gigabytes, below the temporary directory */
export async function imageBuilds(work: string): Promise<Subject> {
  const directory = join(work, "image");
  await mkdir(directory);
  const path = process.env["PATH"];
  const text = await prepareImage(directory);
  const rows: string[][] = [];
  for (const compression of ["lz4", "lz4hc"]) {
    const description = parseImageDescription(
      text.replace("compression: lz4", `compression: ${compression}`),
      "image.yaml",
    );
    const steps: { readonly what: string; readonly at: number }[] = [];
    const built = await buildImage({
      ...{ description, baseDirectory: directory, lockFile: join(directory, `${compression}.lock.json`) },
      ...{
        updateLock: false,
        keysets: join(directory, "keys"),
        outputDirectory: join(directory, compression),
      },
      ...{ qcow2: false, replace: false, epoch: 0 },
      onStep: (what) => steps.push({ what, at: performance.now() }),
    });
    const end = performance.now();
    const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`;
    const each = steps.map(({ what, at }, i) => `${what} ${seconds(at, steps[i + 1]?.at ?? end)}`);
    const mebibytes = (bytes: number): string => (bytes / MiB).toFixed(0);
    rows.push([
      compression,
      seconds(steps[0]?.at ?? end, end),
      mebibytes(built.rootBytes),
      mebibytes((await stat(built.uki)).size),
      mebibytes(built.diskBytes),
      each.join(", "),
    ]);
  }
  process.env["PATH"] = path;
  await rm(directory, { recursive: true });
  return {
    title: "An OS image and its installer from a root that is there (Debian trixie, documentation removed)",
    headings: ["root", "time", "root MiB", "kernel image MiB", "disk MiB", "steps"],
    rows,
  };
}
