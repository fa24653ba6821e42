// mosd: the service stage of the boot, then the API for as long as somebody uses it, then nothing: the sockets
// start it again. A sequence of named phases.
import { chmod, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { dirname } from "node:path";
import { exitCodes } from "../errors/catalogue.ts";
import { asMosError } from "../errors/mos-error.ts";
import { lockPath, startsPath } from "../generation/places.ts";
import type { Transaction } from "../generation/transaction.ts";
import { discard, makeDirectory } from "../system/atomic-file.ts";
import { withLock } from "../system/lock.ts";
import { mosVersion } from "../system/version.ts";
import { notify, watchdogIntervalMs } from "../systemd/notify.ts";
import { type SocketName, socketPaths } from "./api.ts";
import { type BootOutcome, type BootTimings, boot } from "./boot.ts";
import { type AgentContext, deviceContext, processAgeMs } from "./context.ts";
import { rememberServiceStage } from "./handover.ts";
import { log } from "./log.ts";
import { Operations } from "./running-operation.ts";
import { createApiServer } from "./server.ts";
import { watchTrial } from "./trial.ts";

/** Told of work that begins (1) and ends (-1): the agent leaves when there is none. */
type Busy = (change: 1 | -1) => void;

/** How long the agent stays after the last request. */
const idleExitMs = 20_000;

/** How long a stop waits for what cannot be cancelled. */
const stopTimeoutMs = 15_000;

/** First file descriptor that systemd passes (sd_listen_fds(3)). */
const listenFdsStart = 3;

/** Runs the agent. It takes no options: what it does is decided by the device's policy and state. */
export async function main(args: readonly string[]): Promise<void> {
  if (args.length > 0) {
    process.stderr.write(
      "mosd takes no arguments; systemd starts it (mosd.service), and mosd --stage=initrd in an initrd. See mosctl --help.\n",
    );
    process.exitCode = args[0] === "--help" ? 0 : exitCodes.usage;
    return;
  }
  const context = deviceContext();
  const started = processAgeMs();
  keepWatchdog();
  const { outcome, timings } = await boot(context);
  rememberServiceStage(context, outcome);
  report(outcome, timings, started);
  const { onTrial, operations } = await serve(context);
  const ready = notify("READY=1", `STATUS=${statusLine(outcome)}`);
  const trial = "trial" in outcome ? outcome.trial : undefined;
  if (trial === undefined && outcome.kind !== "refused")
    operations.first(ready.then(() => settle(context, onTrial)));
  await ready;
  await endCount(context);
  if (trial !== undefined) await watch(context, trial, onTrial);
  if (outcome.kind === "refused") await startRecovery(context);
}

/** This start has come up, so it does not count among those that did not (mos-starts.sh). */
async function endCount({ places }: AgentContext): Promise<void> {
  try {
    await discard(startsPath(places));
  } catch (error) {
    log.warn({ about: startsPath(places) }, asMosError(error).message);
  }
}

/** Looks for a release that can be verified, and goes on looking: nothing runs here. */
async function startRecovery({ systemd }: AgentContext): Promise<void> {
  try {
    await systemd.startUnitsNoBlock(["mos-recovery.service"]);
  } catch (error) {
    const { code, message } = asMosError(error);
    log.error({ code }, message);
  }
}

/** Which system starts next. Where somebody else holds the lock already, the next start of the agent looks. */
async function settle(context: AgentContext, onTrial: Busy): Promise<void> {
  onTrial(1);
  try {
    const { areSystemsUnsettled, settleSystems } = await import("./system-boot.ts");
    if (!(await areSystemsUnsettled(context))) return;
    await withLock(lockPath(context.places), "which system starts next", () => settleSystems(context));
  } catch (error) {
    const { code, message } = asMosError(error);
    log.warn({ code }, message);
  } finally {
    onTrial(-1);
  }
}

/** A generation on trial is watched after the boot has gone on; the agent does not leave before it is decided. */
async function watch(context: AgentContext, trial: Transaction, onTrial: Busy): Promise<void> {
  onTrial(1);
  try {
    await withLock(lockPath(context.places), `trial of generation ${trial.to}`, () =>
      watchTrial(context, trial),
    );
    log.info({ generation: trial.to }, "the generation is healthy and stays");
  } catch (error) {
    const { code, message } = asMosError(error);
    log.error({ code }, message);
  } finally {
    onTrial(-1);
  }
  await notify("STATUS=trial over");
}

function keepWatchdog(): void {
  const interval = watchdogIntervalMs();
  if (interval === undefined) return;
  setInterval(() => void notify("WATCHDOG=1"), interval).unref();
}

function statusLine(outcome: BootOutcome): string {
  switch (outcome.kind) {
    case "applied":
      return `generation ${outcome.generation} verified, services starting`;
    case "unchanged":
      return `generation ${outcome.generation} verified and in place`;
    case "nothing-to-do":
      return `generation ${outcome.generation} was verified and brought up in the initrd, nothing to do`;
    case "no-generation":
      return "no manifest has been applied yet";
    case "refused":
      return `refused: ${outcome.error.code}`;
  }
}

function report(outcome: BootOutcome, timings: BootTimings, started: number): void {
  const rounded = Object.fromEntries(
    Object.entries({ start: started, ...timings }).map(([part, ms]) => [
      `${part}_ms`,
      Math.round(ms * 10) / 10,
    ]),
  );
  const cpu = process.cpuUsage();
  const fields = { ...rounded, cpu_ms: Math.round((cpu.user + cpu.system) / 1000), version: mosVersion() };
  if (outcome.kind === "refused") {
    const { code, message, about } = outcome.error;
    log.error({ code, about, ...fields }, `cannot bring up the current generation: ${message}`);
    return;
  }
  if (outcome.kind !== "no-generation") {
    for (const { code, message, about } of outcome.damage)
      log.error({ code, about }, `done without: ${message}`);
    for (const { service, error } of outcome.problems) {
      log.error(
        { service, code: error.code, about: error.about },
        `cannot bring up ${service}: ${error.message}`,
      );
    }
  }
  log.info(fields, statusLine(outcome));
}

/** Sockets that systemd passed, by the names that their units give them (FileDescriptorName=). */
function passedSockets(): ReadonlyMap<SocketName, number> {
  const isForUs = process.env["LISTEN_PID"] === String(process.pid);
  const names = isForUs ? (process.env["LISTEN_FDNAMES"] ?? "").split(":") : [];
  const sockets = new Map<SocketName, number>();
  for (const [i, name] of names.entries()) {
    if (name === "control" || name === "status") sockets.set(name, listenFdsStart + i);
  }
  return sockets;
}

async function serve(
  context: AgentContext,
): Promise<{ readonly onTrial: Busy; readonly operations: Operations }> {
  const passed = passedSockets();
  let active = 0;
  let isWatching = false;
  let timer: NodeJS.Timeout | undefined;
  const servers: Server[] = [];
  const stop = () => {
    void notify("STOPPING=1").finally(() => process.exit(0));
  };
  // Without sockets of systemd nobody could start us again, so then the agent stays.
  const settle = () => {
    if (active === 0 && passed.size > 0) timer = setTimeout(stop, idleExitMs);
  };
  const onActivity = (change: 1 | -1) => {
    active += change;
    clearTimeout(timer);
    settle();
  };
  const operations = new Operations(onActivity);
  for (const name of ["control", "status"] as const) {
    const server = createApiServer(context, operations, name, onActivity);
    await listen(server, name, passed.get(name));
    servers.push(server);
  }
  settle();
  process.once("SIGTERM", () => {
    for (const server of servers) server.close();
    // What only fetches is broken off, and goes on from there the next time; what changes the device is let end.
    void operations.cancel().catch(() => undefined);
    // Services that go down with the device say nothing about their generation: nobody judges them any more, and the
    // next start goes on with the trial.
    if (active === 0 || isWatching || operations.running?.step === "health") return stop();
    setInterval(() => active === 0 && stop(), 100);
    // The journal knows what is left to do.
    setTimeout(stop, stopTimeoutMs);
  });
  return {
    operations,
    onTrial: (change) => {
      isWatching = change === 1;
      onActivity(change);
    },
  };
}

async function listen(server: Server, name: SocketName, fd: number | undefined): Promise<void> {
  const path = socketPaths[name];
  if (fd === undefined) {
    await makeDirectory(dirname(path));
    await rm(path, { force: true });
  }
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(fd === undefined ? { path } : { fd }, resolve);
  });
  if (fd === undefined) await chmod(path, name === "control" ? 0o600 : 0o666);
}
