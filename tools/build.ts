// dist/mos: the sources as one bundle, inside a copy of the pinned Node (a "single executable application"), with
// links for its other names beside it. Bit for bit the same from the same sources, wherever they are.
import { createHash } from "node:crypto";
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { acceptCodeCache, cacheFlags } from "./code-cache.ts";
import { logged, step } from "./say.ts";
import { checkout, type Flavour, flavoured, outputDirectory, readStamp, type Stamp } from "./stamp.ts";

/** The other names of the executable (src/main.ts looks at the name it was called by). */
const names = ["mosctl", "mosd", "mosb", "trust"] as const;

/** Node's flags inside the executable. node:ffi is experimental, and says so at every start. */
const nodeFlags = ["--disable-warning=ExperimentalWarning"];

/** Builds dist/mos of this checkout, or dist/faults/mos. @returns its path */
export async function buildExecutable(flavour: Flavour): Promise<string> {
  const stamp = flavoured(await readStamp(), flavour);
  const out = outputDirectory(flavour);
  await step(`building mos ${stamp.version}`, () => buildFrom(checkout, out, stamp, flavour));
  return join(out, "mos");
}

/** Builds twice, in two directories, and compares. @throws Error when the two differ */
export async function checkReproducible(): Promise<void> {
  const stamp = await readStamp();
  const digests = await step("building twice and comparing", async () => {
    const found = [];
    for (const where of ["first", "a second and longer directory"]) {
      const directory = await mkdtemp(join(tmpdir(), "mos-build-"));
      try {
        const copy = join(directory, where);
        for (const part of ["src", "node_modules", "package.json", "tsconfig.json"]) {
          await cp(join(checkout, part), join(copy, part), { recursive: true, verbatimSymlinks: true });
        }
        await buildFrom(copy, join(copy, "dist"), stamp, "release");
        found.push(
          createHash("sha256")
            .update(await readFile(join(copy, "dist/mos")))
            .digest("hex"),
        );
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    }
    return found;
  });
  if (digests[0] !== digests[1]) throw new Error(`two builds of one tree differ: ${digests.join(" and ")}`);
  console.log(`reproducible: sha256 ${digests[0]} twice`);
}

async function buildFrom(root: string, out: string, stamp: Stamp, flavour: Flavour): Promise<void> {
  await mkdir(out, { recursive: true });
  const work = await mkdtemp(join(out, ".build-"));
  try {
    await bundle(root, join(work, "mos.js"), stamp, flavour);
    const node = join(work, "node");
    await cp(join(root, "node_modules/.bin/node"), node, { dereference: true });
    await logged("strip", ["--strip-all", node]);
    const config = {
      main: "mos.js",
      mainFormat: "commonjs",
      executable: "node",
      output: "mos",
      disableExperimentalSEAWarning: true,
      useCodeCache: true,
      execArgv: nodeFlags,
      // NODE_OPTIONS of a caller must not reach into a program that runs as root.
      execArgvExtension: "none",
    };
    await writeFile(join(work, "sea.json"), JSON.stringify(config));
    await logged(join(root, "node_modules/.bin/node"), [...cacheFlags, "--build-sea", "sea.json"], {
      cwd: work,
    });
    const built = join(work, "mos");
    await acceptCodeCache(built, join(root, "node_modules/.bin/node"));
    await chmod(built, 0o755);
    await rename(built, join(out, "mos"));
    for (const name of names) {
      await rm(join(out, name), { force: true });
      await symlink("mos", join(out, name));
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** One file of CommonJS: what is imported dynamically is in it, and evaluated when it is asked for. */
async function bundle(root: string, outfile: string, stamp: Stamp, flavour: Flavour): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: ["src/main.ts"],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    minify: true,
    legalComments: "none",
    logLevel: "warning",
    define: {
      MOS_VERSION: JSON.stringify(stamp.version),
      MOS_BUILD_TIME: String(stamp.time),
      MOS_FAULTS: String(flavour === "faults"),
    },
  });
}
