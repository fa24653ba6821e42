// ./dev test: every lane, one after the other, whatever the others did; then a table, and one line of totals.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { guestDisk } from "./guest-disk.ts";
import { buildPackage } from "./package.ts";
import { say } from "./say.ts";
import { secureImage } from "./secure-image.ts";
import { checkout } from "./stamp.ts";

export const laneNames = [
  ...(["check", "unit", "integration", "crash", "machine", "powercut", "secure"] as const),
] as const;
type LaneName = (typeof laneNames)[number];

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why the lane did not run, or how it broke. */
  readonly note?: string;
  /** What failed, each with its name and how. */
  readonly failures?: readonly string[];
}

interface Lane {
  readonly what: string;
  readonly run: () => Promise<Counts>;
  /** Why it cannot run here, or undefined. */
  readonly obstacle?: () => string | undefined;
}

const lanes: Readonly<Record<LaneName, Lane>> = {
  check: { what: "types, lint, unused code", run: check },
  unit: { what: "nothing but this checkout", run: () => vitest("unit") },
  integration: { what: "real programs of this machine", run: () => inMemory("integration") },
  crash: { what: "power cuts and failing disks, in memory", run: () => inMemory("crash") },
  machine: {
    what: "a guest with a kernel and systemd of its own",
    obstacle: machineObstacle,
    run: async () => {
      const built = await buildPackage();
      await guestDisk(built.packageFile);
      return vitest("machine", underTest(built));
    },
  },
  powercut: {
    what: "two guests that lose their power again and again",
    obstacle: machineObstacle,
    run: async () => {
      const built = await buildPackage("faults");
      await guestDisk(built.packageFile);
      return vitest("powercut", underTest(built));
    },
  },
  secure: {
    what: "a machine with Secure Boot and a TPM, under QEMU",
    run: async () => {
      requireSecureLane();
      const built = await buildPackage();
      await secureImage(built.packageFile);
      return vitest("secure", underTest(built));
    },
  },
};

/** What test/build-under-test.ts reads. */
function underTest({ executable, packageFile }: Awaited<ReturnType<typeof buildPackage>>) {
  return { MOS_TEST_EXECUTABLE: executable, MOS_TEST_PACKAGE: packageFile };
}

/**
 * Runs lanes (all when none is named) and prints the result.
 * @param skip lanes that somebody said to leave out
 * @returns whether everything that ran passed
 */
export async function runLanes(names: readonly LaneName[], skip: readonly LaneName[]): Promise<boolean> {
  const results: { name: LaneName; counts: Counts; seconds: number }[] = [];
  for (const name of names.length === 0 ? laneNames : names) {
    say(`lane ${name}: ${lanes[name].what}`);
    const start = performance.now();
    const counts = await runLane(
      skip.includes(name) ? { ...lanes[name], obstacle: () => `told to, by --skip ${name}` } : lanes[name],
    );
    results.push({ name, counts, seconds: (performance.now() - start) / 1000 });
  }
  const total = (key: "passed" | "failed" | "skipped"): number =>
    results.reduce((sum, { counts }) => sum + counts[key], 0);
  // Said again at the end: of a long log, the end is what is kept and read.
  for (const { name, counts } of results)
    for (const failure of counts.failures ?? []) console.log(`\n${name}: ${failure}`);
  console.log("\nlane          passed  failed  skipped     time");
  for (const { name, counts, seconds } of results) {
    const columns = [counts.passed, counts.failed, counts.skipped].map((n) => String(n).padStart(8)).join("");
    console.log(
      `${name.padEnd(12)}${columns}${`${seconds.toFixed(1)} s`.padStart(10)}  ${counts.note ?? ""}`.trimEnd(),
    );
  }
  console.log(`\n${total("passed")} passed, ${total("failed")} failed, ${total("skipped")} skipped`);
  return total("failed") === 0 && total("passed") > 0;
}

async function runLane(lane: Lane): Promise<Counts> {
  const obstacle = lane.obstacle?.();
  if (obstacle !== undefined) {
    say(`skipped: ${obstacle}`);
    return { passed: 0, failed: 0, skipped: 1, note: obstacle };
  }
  try {
    return await lane.run();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    say(message);
    return { passed: 0, failed: 1, skipped: 0, note: message.split("\n")[0] ?? "" };
  }
}

function machineObstacle(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return "User-Mode Linux needs x86-64";
  if (process.getuid?.() !== 0) return "needs root (mounts, network namespaces)";
  if (!existsSync("/dev/net/tun")) return "needs /dev/net/tun";
  return undefined;
}

/** What this lane proves is not left out in silence: where it cannot run, somebody has to say that it need not. */
function requireSecureLane(): void {
  const isX64 = process.platform === "linux" && process.arch === "x64";
  if (isX64 && process.getuid?.() === 0) return;
  const why = isX64 ? "needs root (mounts, namespaces)" : "the image is for x86-64";
  throw new Error(`${why}; without this lane: ./dev test --skip secure`);
}

async function check(): Promise<Counts> {
  const bin = (name: string): string => join(checkout, "node_modules/.bin", name);
  const checks = [[bin("tsc")], [bin("biome"), "check", "--error-on-warnings"], [bin("knip")]];
  let passed = 0;
  for (const command of checks) if ((await show(command)) === 0) passed++;
  return { passed, failed: checks.length - passed, skipped: 0 };
}

/** Bytes of memory that have to be there to spare: the tests build images of operating systems, among others. */
const memoryToSpare = 12 * 1024 ** 3;

/**
 * Runs a project whose temporary files are in memory, where there is room and that can be mounted: tests that save
 * things durably wait for the disk for most of their time. What a disk really does to them is for other lanes to show.
 */
async function inMemory(project: string): Promise<Counts> {
  const [, kibibytes = "0"] =
    /^MemAvailable: +([0-9]+) kB$/m.exec(await readFile("/proc/meminfo", "utf8").catch(() => "")) ?? [];
  if (process.getuid?.() !== 0 || Number(kibibytes) * 1024 < memoryToSpare) return await vitest(project);
  const directory = await mkdtemp(join(tmpdir(), "mos-memory-"));
  try {
    // In a namespace of its own, which the mount ends with.
    const mount = 'mount -t tmpfs -o mode=1777,size=60% mos-tests "$1" && shift && exec "$@"';
    const within = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", mount, "sh", directory];
    return await vitest(project, { TMPDIR: directory }, within);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs one vitest project. Its own reports go to the terminal, its counts come from its JSON report. */
async function vitest(
  project: string,
  env: Readonly<Record<string, string>> = {},
  within: readonly string[] = [],
): Promise<Counts> {
  const directory = await mkdtemp(join(tmpdir(), "mos-vitest-"));
  try {
    const report = join(directory, "report.json");
    const exitCode = await show(
      [
        ...within,
        ...[process.execPath, join(checkout, "node_modules/vitest/vitest.mjs"), "run", "--project", project],
        ...["--passWithNoTests", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
      ],
      env,
    );
    return countReport(JSON.parse(await readFile(report, "utf8")), exitCode);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[] | null;
    }[];
  }[];
}

/** A file that fails outside its tests (an import, a hook) fails no test: it counts as one. */
function countReport(report: Report, exitCode: number): Counts {
  const failures = report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(checkout, name);
    const tests = assertionResults.filter((test) => test.status === "failed");
    if (status === "failed" && tests.length === 0) return [`${file}\n${message}`];
    return tests.map((test) => `${file} > ${test.fullName}\n${test.failureMessages?.join("\n") ?? ""}`);
  });
  const skipped = report.numPendingTests + report.numTodoTests;
  const counts = { passed: report.numPassedTests, failed: failures.length, skipped, failures };
  if (exitCode === 0 || failures.length > 0) return counts;
  return { ...counts, failed: 1, note: `vitest exited with ${exitCode}` };
}

async function show(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<number> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    cwd: checkout,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  const [code] = await once(child, "close");
  return typeof code === "number" ? code : 1;
}
