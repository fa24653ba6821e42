// What ./dev tells its user: one line when something that takes time begins, one when it is over. What the
// programs behind it print goes to a log file, which is named when something fails.
import { type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "./cache.ts";

const began = performance.now();

/** The log of this run. */
const logFile = join(
  cacheDirectory,
  "logs",
  `dev-${new Date().toISOString().replaceAll(":", "")}-${process.pid}.log`,
);
mkdirSync(join(cacheDirectory, "logs"), { recursive: true });

/** Prints a line with the time since the start. To stderr: stdout is for results. */
export function say(text: string): void {
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  process.stderr.write(`[${seconds} s] ${text}\n`);
  appendFileSync(logFile, `[${seconds} s] ${text}\n`);
}

/** Does a piece of work that takes a while, and says so before and after. */
export async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  say(`${what} …`);
  const start = performance.now();
  const result = await work();
  say(`${what}: done in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  return result;
}

/**
 * Runs a program with its output in the log.
 * @throws Error with the command, the last lines it printed, and where the log is
 */
export async function logged(
  program: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<void> {
  const command = [program, ...args].join(" ");
  appendFileSync(logFile, `$ ${command}\n`);
  const before = readFileSync(logFile).length;
  const log = openSync(logFile, "a");
  try {
    const child = spawn(program, args, { ...options, stdio: ["ignore", log, log] });
    const [code, signal] = await once(child, "close");
    if (code === 0) return;
    const said = readFileSync(logFile).subarray(before).toString().trim().split("\n").slice(-15).join("\n");
    throw new Error(
      `${command.replaceAll("\n", " ").slice(0, 200)}\nended with ${code ?? signal}:\n${said}\nAll of it: ${logFile}`,
    );
  } finally {
    closeSync(log);
  }
}
