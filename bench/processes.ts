// Measures whole processes, all sides in turn and the order turned round after each round: wall and CPU time of a
// process and its children by hyperfine, peak memory (ru_maxrss of wait4) by GNU time in a run of its own.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { run } from "../src/system/process.ts";
import type { Peers } from "./peers.ts";
import { type Figure, figure } from "./table.ts";

export interface Side {
  readonly argv: readonly string[];
  /** Run before each run, outside the measurement. */
  readonly prepare?: () => Promise<void>;
  /** Run after each run, outside the measurement. Throws when the result is not the right one. */
  readonly check?: () => Promise<void>;
}

/** Milliseconds, one value for each round. */
export interface Timing {
  readonly wall: readonly number[];
  /** User and system together. */
  readonly cpu: readonly number[];
}

const report = z.object({
  results: z.tuple([z.object({ mean: z.number(), user: z.number(), system: z.number() })]),
});

const MiB = 1024 * 1024;

async function timeOnce(argv: readonly string[], file: string): Promise<{ wall: number; cpu: number }> {
  const quoted = argv.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  await run("hyperfine", ["-N", "--runs", "1", "--export-json", file, quoted], { timeoutMs: 300_000 });
  const [result] = report.parse(JSON.parse(await readFile(file, "utf8"))).results;
  return { wall: result.mean * 1000, cpu: (result.user + result.system) * 1000 };
}

/** Times several commands in turn, after one round that does not count. The answers are in their order. */
export async function timeInTurn(sides: readonly Side[], rounds: number): Promise<Timing[]> {
  const directory = await mkdtemp(join(tmpdir(), "mos-bench-"));
  const all = sides.map((side) => ({ side, wall: [] as number[], cpu: [] as number[] }));
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const { side, wall, cpu } of round % 2 === 0 ? all : all.toReversed()) {
        await side.prepare?.();
        const result = await timeOnce(side.argv, join(directory, "report.json"));
        await side.check?.();
        if (round === 0) continue;
        wall.push(result.wall);
        cpu.push(result.cpu);
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return all;
}

/** Peak resident memory in MiB; of several processes, that of the largest. */
export async function peakMemory(peers: Peers, side: Side, rounds: number): Promise<Figure> {
  const directory = await mkdtemp(join(tmpdir(), "mos-bench-"));
  const file = join(directory, "peak");
  const [program = "", ...args] = [...peers.onHost("time"), "-f", "%M", "-o", file, ...side.argv];
  const peaks: number[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      await side.prepare?.();
      await run(program, args, { timeoutMs: 300_000 });
      await side.check?.();
      peaks.push((Number(await readFile(file, "utf8")) * 1024) / MiB);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return figure(peaks);
}
