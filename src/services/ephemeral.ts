// The machine's one job: when it ends the machine powers off, and when it does not end by its deadline the machine powers
// off as well. The deadline is a timer beside the job, because what a service may say about its own time limits
// (sd_notify(3), EXTEND_TIMEOUT_USEC=) would move a limit of the service's own. Behind it is a watchdog of the machine, of
// the kernel's own making where the hardware has none.
import type { Target } from "../manifest/schema.ts";
import { command, type Entry, formatUnit, raw, unitNames } from "../systemd/unit-file.ts";
import type { RenderedUnit } from "./model.ts";
import { deadlineTimer, deadlineUnit, serviceUnit, watchdogUnit } from "./unit-names.ts";

/** Microseconds without a sign of life from systemd after which the watchdog resets the machine. */
const watchdogTime = 60_000_000;

/**
 * Loads the kernel's own watchdog, by a command: systemd's modprobe@.service leaves out what a distribution has on its list
 * against loading by itself, as some have all watchdogs. systemd takes the first that there is.
 */
const softdog = raw("-modprobe --quiet softdog");

/** Whether the target is the machine's one job. */
function isEphemeral({ run }: Target): boolean {
  return run?.mode === "ephemeral";
}

/** What the [Unit] section of the job says. */
export function ephemeralEntries(target: Target): Entry[] {
  if (!isEphemeral(target)) return [];
  return [
    // Without the timer there is no job: BindsTo also ends the job should somebody stop the timer.
    ["BindsTo", unitNames(deadlineTimer(target.service_name))],
    ["Wants", unitNames(watchdogUnit)],
    ["After", unitNames(deadlineTimer(target.service_name), watchdogUnit)],
    ["SuccessAction", raw("poweroff")],
    ["FailureAction", raw("poweroff")],
  ];
}

/** The deadline of the job, and the watchdog. */
export function renderEphemeral(target: Target): RenderedUnit[] {
  if (!isEphemeral(target)) return [];
  const service = target.service_name;
  const timer = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos deadline of ${service}`)],
        ["DefaultDependencies", raw("no")],
      ],
    },
    {
      name: "Timer",
      entries: [
        ["OnActiveSec", raw(`${target.run?.deadline ?? 0}s`)],
        ["AccuracySec", raw("1s")],
        ["RemainAfterElapse", raw("yes")],
        ["Unit", unitNames(deadlineUnit(service))],
      ],
    },
  ]);
  // By force, because an orderly shutdown would wait for the job. systemd still syncs and unmounts. The job is killed before:
  // systemd's last step waits 90 seconds for processes that do not listen to SIGTERM, and nobody tells the watchdog by then
  // that all is well. One that cannot be switched off (CONFIG_WATCHDOG_NOWAYOUT) would begin the job anew.
  const deadline = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos deadline of ${service}: power off`)],
        ["DefaultDependencies", raw("no")],
        ["SuccessAction", raw("poweroff-force")],
        ["FailureAction", raw("poweroff-force")],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["ExecStart", raw(`-${command("systemctl", "kill", "--signal=KILL", serviceUnit(service))}`)],
        ["TimeoutStartSec", raw("10s")],
      ],
    },
  ]);
  return [
    { kind: "systemd", name: deadlineTimer(service), content: timer, services: [service] },
    { kind: "systemd", name: deadlineUnit(service), content: deadline, services: [] },
    { kind: "systemd", name: watchdogUnit, content: watchdog(), services: [] },
  ];
}

function watchdog(): string {
  const manager = [
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
  ];
  const set = command("busctl", "set-property", ...manager, "RuntimeWatchdogUSec", "t", `${watchdogTime}`);
  return formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw("mos watchdog of the machine")],
        ["Wants", unitNames("dbus.socket")],
        ["After", unitNames("dbus.socket")],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["RemainAfterExit", raw("yes")],
        ["ExecStart", softdog],
        ["ExecStart", set],
      ],
    },
  ]);
}
