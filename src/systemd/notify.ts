// sd_notify(3): readiness, status line and watchdog of a Type=notify service.

/**
 * Tells the service manager about this process; does nothing outside a service.
 * @param assignments such as `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1` (sd_notify(3), "Description")
 */
export async function notify(...assignments: readonly string[]): Promise<void> {
  const socket = process.env["NOTIFY_SOCKET"];
  if (socket === undefined) return;
  const { sendDatagram } = await import("../system/libc.ts");
  sendDatagram(socket, assignments.join("\n"));
}

/** Half of the time within which the watchdog wants to hear from us (sd_watchdog_enabled(3)), in ms. */
export function watchdogIntervalMs(): number | undefined {
  const pid = process.env["WATCHDOG_PID"];
  const microseconds = Number(process.env["WATCHDOG_USEC"]);
  if (!Number.isSafeInteger(microseconds) || microseconds <= 0) return undefined;
  if (pid !== undefined && Number(pid) !== process.pid) return undefined;
  return microseconds / 2000;
}
