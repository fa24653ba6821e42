// How a service begins, ends and begins again.
import type { Target } from "../manifest/schema.ts";
import { command, type Entry, raw } from "../systemd/unit-file.ts";
import type { Probe } from "./image-config.ts";
import { containerName } from "./unit-names.ts";

/** Seconds in which a service has to be up. */
const shortestStart = 120;
/** Seconds in which podman has to have stopped a service that says nothing; podman itself waits for 10. */
const usualStop = 30;
/** Seconds that podman needs to take a container away after it has ended. */
const cleanUp = 10;
/** Seconds for the program before the stop signal. With the rest it stays below what the agent waits (systemd/manager.ts). */
const preStopSeconds = 15;

/** Seconds that systemd waits for a service to be up. */
function startTimeout({ run }: Target, probe: Probe | undefined): number {
  const asked = run?.start_timeout ?? shortestStart;
  if (probe === undefined) return asked;
  const { start_period, interval, timeout, retries } = probe;
  return Math.max(asked, start_period + (interval + timeout) * (retries + 1));
}

function restartEntries({ run }: Target, isDependedUpon: boolean): Entry[] {
  const policy = run?.restart ?? (run?.mode === "ephemeral" ? "never" : "on-failure");
  if (policy === "never") return [["Restart", raw("no")]];
  return [
    ["Restart", raw(policy)],
    // Those who wait for it are told of the end of all attempts only, not of the first one that failed.
    ...(isDependedUpon ? [["RestartMode", raw("direct")] as const] : []),
    ["RestartSec", raw("1")],
    ["RestartSteps", raw("6")],
    ["RestartMaxDelaySec", raw("60")],
  ];
}

/**
 * Lines of the [Container] section: conmon hands on what the program says of `READY=1` and `WATCHDOG=1`, and nothing else.
 * podman itself does not tell it of the time. For one that says nothing podman does, when it runs.
 */
export function watchdogEntries({ run }: Target): Entry[] {
  if (run?.watchdog === undefined) return [];
  return [
    ["Notify", raw("true")],
    ["Environment", raw(`WATCHDOG_USEC=${run.watchdog * 1_000_000}`)],
  ];
}

/** Lines of the [Container] section. */
export function stopEntries({ run }: Target): Entry[] {
  return run?.stop_timeout === undefined ? [] : [["StopTimeout", raw(`${run.stop_timeout}`)]];
}

/** Lines of the [Service] section. `probe`: how its health is asked; `isDependedUpon`: whether other services wait for this one. */
export function lifeEntries(target: Target, probe: Probe | undefined, isDependedUpon: boolean): Entry[] {
  const { run } = target;
  const stop = run?.stop_timeout === undefined ? usualStop : run.stop_timeout + cleanUp;
  return [
    ...(run?.mode === "once"
      ? [["Type", raw("oneshot")] as const, ["RemainAfterExit", raw("yes")] as const]
      : []),
    ...(run?.watchdog === undefined ? [] : [["WatchdogSec", raw(`${run.watchdog}s`)] as const]),
    ...restartEntries(target, isDependedUpon),
    ["TimeoutStartSec", raw(`${startTimeout(target, probe)}`)],
    ["TimeoutStopSec", raw(`${stop}`)],
    ...preStopEntries(target),
  ];
}

/** Before quadlet's own ExecStop=; what it says or does cannot keep the service from being stopped. */
function preStopEntries({ service_name: service, run }: Target): Entry[] {
  if (run?.pre_stop === undefined) return [];
  const bounded = ["timeout", `${preStopSeconds}`, "podman", "exec", containerName(service), ...run.pre_stop];
  return [["ExecStop", raw(`-${command(...bounded)}`)]];
}
