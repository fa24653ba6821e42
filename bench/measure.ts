// Measures whole processes: wall and CPU time by hyperfine, one run a call so that the sides alternate; the peak of
// resident memory from /proc/PID/status (VmHWM), read until the process ends.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../src/system/process.ts";

export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Milliseconds of whole processes. */
export interface Timing {
  readonly wall: Figure;
  readonly cpu: Figure;
}

export interface Side {
  readonly argv: readonly string[];
  /** Run before each measured run, outside the measurement. */
  readonly prepare?: () => Promise<void>;
  /** Throws when the result of a run is not the right one. */
  readonly check?: () => Promise<void>;
}

export function figure(values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1] ?? 0, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0 };
}

async function timeOnce(argv: readonly string[], file: string): Promise<{ wall: number; cpu: number }> {
  const quoted = argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  await run("hyperfine", ["-N", "--runs", "1", "--export-json", file, quoted], { timeoutMs: 300_000 });
  const report = JSON.parse(await readFile(file, "utf8")) as {
    results: { mean: number; user: number; system: number }[];
  };
  const [result] = report.results;
  if (result === undefined) throw new Error(`no result of ${quoted}`);
  return { wall: result.mean * 1000, cpu: (result.user + result.system) * 1000 };
}

/** Times several commands in turn, after one round that does not count. */
export async function timeInTurn<K extends string>(
  sides: Readonly<Record<K, Side>>,
  rounds: number,
): Promise<Record<K, Timing>> {
  const directory = await mkdtemp(join(tmpdir(), "mos-bench-"));
  const names = Object.keys(sides) as K[];
  const runs = new Map<K, { wall: number; cpu: number }[]>(names.map((name) => [name, []]));
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const side = sides[name];
        await side.prepare?.();
        const result = await timeOnce(side.argv, join(directory, "report.json"));
        await side.check?.();
        if (round > 0) runs.get(name)?.push(result);
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  const timings = names.map((name) => {
    const list = runs.get(name) ?? [];
    return [name, { wall: figure(list.map(({ wall }) => wall)), cpu: figure(list.map(({ cpu }) => cpu)) }];
  });
  return Object.fromEntries(timings) as Record<K, Timing>;
}

/** Peak resident memory of one run, bytes. */
export async function peakMemory(argv: readonly string[]): Promise<number> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { stdio: "ignore" });
  let peak = 0;
  const look = setInterval(() => {
    try {
      const kib = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
      peak = Math.max(peak, Number(kib ?? 0) * 1024);
    } catch {
      // It has ended between two looks.
    }
  }, 2);
  await once(child, "close");
  clearInterval(look);
  return peak;
}
