// The agent's log: pino, written to standard error as one line per event with the priority that the journal
// reads (sd-daemon(3)). Text from outside is quoted, so that it cannot forge a line.
import { pino } from "pino";
import { unicodeEscape } from "../system/unicode-escape.ts";

/** pino's level → syslog priority. */
const priorities: readonly (readonly [level: number, priority: number])[] = [
  [50, 3],
  [40, 4],
  [30, 6],
  [0, 7],
];

function show(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (/^[\w./:@+-]+$/.test(text)) return text;
  // JSON lets DEL and the C1 controls be.
  return JSON.stringify(text).replace(/\p{Cc}/gu, unicodeEscape);
}

/** One journal line of one of pino's records. */
export function formatRecord(json: string): string {
  const record: unknown = JSON.parse(json);
  if (typeof record !== "object" || record === null) return "";
  const { level, msg, ...fields } = record as { level?: unknown; msg?: unknown };
  const priority = priorities.find(([from]) => Number(level) >= from)?.[1] ?? 6;
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${show(value)}`);
  return `<${priority}>${String(msg).replaceAll(/\p{Cc}/gu, " ")}${pairs.join("")}\n`;
}

export const log = pino(
  { base: null, timestamp: false },
  { write: (json: string) => process.stderr.write(formatRecord(json)) },
);
