// What mos asks of the service manager, through systemctl: it finds systemd's private socket by itself, so it
// works before the system bus is up.
import { MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";

/** How long a stop may take: longer than any TimeoutStopSec= that mos renders. */
const stopTimeoutMs = 90_000;
const startTimeoutMs = 180_000;
const reloadTimeoutMs = 90_000;
/** A look waits behind whatever systemd is doing, which on a slow device with many units is a reload. */
const lookTimeoutMs = reloadTimeoutMs;
/** A kernel image is written to a slow disk. */
const runTimeoutMs = 300_000;

async function systemctl(timeoutMs: number, ...args: string[]): Promise<string> {
  try {
    return (await run("systemctl", args, { timeoutMs })).stdout;
  } catch (error) {
    if (error instanceof MosError && error.code === "program-failed") {
      throw new MosError("systemd-failed", error.message, {
        ...(error.about === undefined ? {} : { about: error.about }),
        cause: error,
      });
    }
    throw error;
  }
}

/** Makes systemd and its generators read all unit files again. @throws MosError `systemd-failed` */
async function daemonReload(): Promise<void> {
  await systemctl(reloadTimeoutMs, "daemon-reload");
}

/** Stops units and waits until they are stopped. Units that are not loaded count as stopped. */
async function stopUnits(units: readonly string[]): Promise<void> {
  if (units.length === 0) return;
  const loaded = (await showUnits(units, ["Id", "LoadState"])).filter(
    (unit) => unit["LoadState"] === "loaded",
  );
  if (loaded.length === 0) return;
  await systemctl(stopTimeoutMs, "stop", "--", ...loaded.map((unit) => unit["Id"] ?? ""));
}

/** Starts units without waiting for them: what is asked during boot must not wait for the boot itself. */
async function startUnitsNoBlock(units: readonly string[]): Promise<void> {
  if (units.length > 0) await systemctl(startTimeoutMs, "start", "--no-block", "--", ...units);
}

/** Starts those of some units anew that run, without waiting for them. Units that are not loaded are left alone. */
export async function tryRestartUnitsNoBlock(units: readonly string[]): Promise<void> {
  if (units.length === 0) return;
  await run("systemctl", ["try-restart", "--no-block", "--", ...units], {
    timeoutMs: startTimeoutMs,
    accept: [0, 1, 5],
  });
}

/** Forgets that units failed, so that a start limit does not refuse them. */
async function resetFailed(units: readonly string[]): Promise<void> {
  if (units.length > 0)
    await run("systemctl", ["reset-failed", "--", ...units], { timeoutMs: lookTimeoutMs, accept: [0, 1, 5] });
}

/**
 * Starts units and waits until each is up or has failed; which of them failed is seen in their state.
 * Earlier failures are forgotten first, so that a start limit does not refuse them.
 */
async function startUnits(units: readonly string[]): Promise<void> {
  if (units.length === 0) return;
  await resetFailed(units);
  await run("systemctl", ["start", "--", ...units], {
    timeoutMs: startTimeoutMs,
    accept: [0, 1, 3, 4, 5, 6],
  });
}

export type UnitProperties = Readonly<Record<string, string | undefined>>;

/** Properties of units as `systemctl show` prints them, one record a unit, in the order asked. Times in µs. */
async function showUnits(units: readonly string[], properties: readonly string[]): Promise<UnitProperties[]> {
  if (units.length === 0) return [];
  const text = await systemctl(
    lookTimeoutMs,
    "show",
    "--timestamp=unix",
    `--property=${properties.join(",")}`,
    "--",
    ...units,
  );
  return parseShow(text);
}

/** Parses the output of `systemctl show`: `KEY=value` lines, an empty line between units. */
export function parseShow(text: string): UnitProperties[] {
  return text
    .split("\n\n")
    .map((block) => block.trim())
    .filter((block) => block !== "")
    .map((block) =>
      Object.fromEntries(
        block.split("\n").flatMap((line) => {
          const equals = line.indexOf("=");
          return equals < 1 ? [] : [[line.slice(0, equals), line.slice(equals + 1)]];
        }),
      ),
    );
}

/** The last lines that a unit logged in this boot, oldest first; empty when the journal has none. */
async function lastLogLines(unit: string, count: number): Promise<string[]> {
  const { stdout } = await run(
    "journalctl",
    ["--boot", "--quiet", "--no-pager", "--output=cat", `--lines=${count}`, `--unit=${unit}`],
    { accept: [0, 1] },
  );
  return stdout.split("\n").filter((line) => line.trim() !== "");
}

/**
 * Runs a program once, as a unit of its own, and waits for its end: outside the agent's sandbox (units/mosd.service),
 * in which podman could not change anything.
 * @throws MosError `program-failed`, `program-missing`
 */
async function runOnce(program: string, ...args: string[]): Promise<void> {
  const options = ["--wait", "--collect", "--quiet", "--pipe", "--service-type=exec"];
  await run("systemd-run", [...options, "--", program, ...args], { timeoutMs: runTimeoutMs });
}

/** Starts the device anew, without waiting for it to go down. @throws MosError `systemd-failed` */
async function reboot(): Promise<void> {
  await systemctl(startTimeoutMs, "reboot", "--no-block");
}

/** What the agent asks of a service manager. */
export interface ServiceManager {
  readonly daemonReload: typeof daemonReload;
  readonly stopUnits: typeof stopUnits;
  readonly startUnits: typeof startUnits;
  readonly startUnitsNoBlock: typeof startUnitsNoBlock;
  readonly resetFailed: typeof resetFailed;
  readonly showUnits: typeof showUnits;
  readonly lastLogLines: typeof lastLogLines;
  readonly runOnce: typeof runOnce;
  readonly reboot: typeof reboot;
}

/** The one of this system. */
export const systemd: ServiceManager = {
  ...{
    daemonReload,
    stopUnits,
    startUnits,
    startUnitsNoBlock,
    resetFailed,
    showUnits,
    lastLogLines,
    runOnce,
    reboot,
  },
};
