// Amounts as people read them.

/** `17 B`, `1.4 KiB`, `250 MiB`: powers of 1024, three digits at most. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${units[unit]}`;
}

/** `850 ms`, `3.2 s`, `4 min 10 s`, `3 h 5 min`, `12 d 4 h`: the two largest units. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [whole / 86_400, (whole / 3600) % 24, (whole / 60) % 60].map(Math.floor);
  const parts = [
    [days, "d"],
    [hours, "h"],
    [minutes, "min"],
    [whole % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => (count ?? 0) > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count]) => (count ?? 0) > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}
