// Signed files: validator and signed sets, next to openssl and install in a shell loop, and to cp.
import { randomBytes } from "node:crypto";
import { mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../src/system/process.ts";
import { peakMemory, type Side, type Timing, timeInTurn } from "./measure.ts";
import { ms, type Subject } from "./subject.ts";

const MiB = 1024 * 1024;

/** What openssl and install take for the same: a digest and a signature for each file, or a check and a copy. */
const signLoop =
  'cd "$1" && for f in f*; do case $f in *.sig|*.o) continue;; esac; openssl dgst -sha512 -binary "$f" > "$2/d" && openssl pkeyutl -sign -rawin -inkey "$3" -in "$2/d" -out "$f.o"; done';
const installLoop =
  'cd "$1" && mkdir -p "$4" && for f in f*; do case $f in *.sig|*.o) continue;; esac; openssl dgst -sha512 -binary "$f" > "$2/d" && openssl pkeyutl -verify -rawin -pubin -inkey "$3" -in "$2/d" -sigfile "$f.o" > /dev/null && install -m 644 "$f" "$4/$f"; done';

interface Tree {
  readonly name: string;
  readonly count: number;
  readonly size: number;
  readonly rounds: number;
  readonly withLoop: boolean;
}

const trees: readonly Tree[] = [
  { name: "1,000 files of 300 bytes", count: 1000, size: 300, rounds: 2, withLoop: true },
  { name: "10,000 files of 300 bytes", count: 10_000, size: 300, rounds: 3, withLoop: false },
  { name: "one file of 1 GiB", count: 1, size: 1024 * MiB, rounds: 2, withLoop: true },
];

async function makeTree(directory: string, { count, size }: Tree): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (let i = 0; i < count; i++) {
    const path = join(directory, `f${i}`);
    for (let at = 0; at < size; at += 64 * MiB) {
      await writeFile(path, randomBytes(Math.min(64 * MiB, size - at)), { flag: "a" });
    }
  }
}

/** @param mos the executable @param work an empty directory, on the disk that is measured */
export async function* signedFiles(mos: string, work: string): AsyncGenerator<Subject> {
  await mkdir(work, { recursive: true });
  const [secret, publicKey] = [join(work, "secret.pem"), join(work, "public.pem")];
  await run("openssl", ["genpkey", "-algorithm", "ed25519", "-out", secret]);
  await run("openssl", ["pkey", "-in", secret, "-pubout", "-out", publicKey]);
  for (const tree of trees) {
    yield await measured(mos, join(work, `of-${tree.count}`), tree, secret, publicKey);
    await rm(join(work, `of-${tree.count}`), { recursive: true, force: true });
  }
}

async function measured(
  mos: string,
  work: string,
  tree: Tree,
  secret: string,
  publicKey: string,
): Promise<Subject> {
  const [files, set] = [join(work, "files"), join(work, "set")];
  await makeTree(files, tree);
  await run("cp", ["-r", files, set]);
  const validator = (...args: string[]) => [mos, "validator", ...args];
  const description = ["--name", "bench", "--serial", "1", "--destination", "/out"];
  await run(mos, ["mosb", "set", "sign", "--key", secret, ...description, set], { timeoutMs: 300_000 });
  const gone = (name: string) => async () => await rm(join(work, name), { recursive: true, force: true });
  const empty = (name: string) => async () => {
    await gone(name)();
    await mkdir(join(work, name));
  };
  const has = (name: string) => async () => void (await stat(join(work, name, `f${tree.count - 1}`)));
  const shell = (script: string, ...args: string[]) => ["sh", "-c", script, "sh", ...args];
  const loops: Record<string, Side> = {
    "sign: openssl in a loop": { argv: shell(signLoop, files, work, secret) },
    "install: openssl and install in a loop": {
      argv: shell(installLoop, files, work, publicKey, join(work, "by-loop")),
      prepare: gone("by-loop"),
      check: has("by-loop"),
    },
  };
  const sides: Record<string, Side> = {
    "sign: validator": { argv: validator("sign", "-rf", `--key=${secret}`, files) },
    ...(tree.withLoop ? loops : {}),
    "validate: validator": { argv: validator("validate", "-r", `--key=${publicKey}`, files) },
    "install: validator": {
      argv: validator("install", "-r", `--key=${publicKey}`, files, join(work, "out")),
      prepare: gone("out"),
      check: has("out"),
    },
    "install: validator --strict (fsync of each)": {
      argv: validator("install", "--strict", "-r", `--key=${publicKey}`, files, join(work, "strict")),
      prepare: gone("strict"),
      check: has("strict"),
    },
    "install: a signed set (fsync of each)": {
      argv: [mos, "mosctl", "set", "install", "--key", publicKey, "--root", join(work, "root"), set],
      prepare: empty("root"),
      check: has("root/out"),
    },
    "the set again: nothing to do": {
      argv: [mos, "mosctl", "set", "install", "--key", publicKey, "--root", join(work, "root"), set],
    },
    "cp -r": { argv: ["cp", "-r", files, join(work, "copy")], prepare: gone("copy"), check: has("copy") },
  };
  // What install checks in the first round, the round before has signed; the set is there once it was installed.
  await run(mos, ["validator", "sign", "-rf", `--key=${secret}`, files], { timeoutMs: 300_000 });
  const order = ["sign: openssl in a loop"].filter((name) => name in sides);
  for (const name of order) await run("sh", (sides[name]?.argv ?? []).slice(1), { timeoutMs: 600_000 });
  await empty("root")();
  const timings = await timeInTurn(sides, tree.rounds);
  const copy = timings["cp -r"];
  const rows = await Promise.all(
    (Object.entries(timings) as [string, Timing][]).map(async ([name, { wall, cpu }]) => [
      name,
      ms(wall),
      ms(cpu),
      copy === undefined ? "" : (cpu.median / copy.cpu.median).toFixed(2),
    ]),
  );
  await gone("out")();
  const peaks = [
    `sign ${((await peakMemory(sides["sign: validator"]?.argv ?? [])) / MiB).toFixed(0)} MiB`,
    `install ${((await peakMemory(sides["install: validator"]?.argv ?? [])) / MiB).toFixed(0)} MiB`,
  ];
  await empty("root")();
  const setPeak = await peakMemory(sides["install: a signed set (fsync of each)"]?.argv ?? []);
  return {
    title: `Signed files: ${tree.name}; peak memory: ${[...peaks, `set ${(setPeak / MiB).toFixed(0)} MiB`].join(", ")}`,
    headings: ["work", "wall ms", "CPU ms", "CPU to cp"],
    rows,
  };
}
