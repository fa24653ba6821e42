// How the quoted PCRs came to their values: by the firmware's log, what systemd says that it measured after it, and
// the closing of PCR 7, which neither of them has. A log is a claim, and believed only where it leads to the value.
import { extendPcr } from "../efi/bank.ts";
import { type EventLog, replayEventLog } from "../efi/event-log.ts";
import { closingDigest } from "../provision/close-pcr7.ts";
import { secureBootPcr } from "../provision/policies.ts";
import { digestSizes } from "../tpm/hashes.ts";
import type { PcrValues } from "../tpm/pcr-selection.ts";
import type { SystemdEvent } from "./systemd-log.ts";

/**
 * `nothing`: it was never extended. `firmware`: the firmware's log leads to the value. `systemd`: systemd's log does,
 * alone or after the firmware's. `nobody`: no log does.
 */
type Explanation = "nothing" | "firmware" | "systemd" | "nobody";

export interface ExplainedPcr {
  readonly pcr: number;
  /** 64 hex digits. */
  readonly value: string;
  readonly by: Explanation;
  /** The value of PCR 7 before it was closed, hex; undefined where nobody explains it. */
  readonly beforeClosing?: string;
  /** Whether PCR 7 was closed; undefined for other PCRs, and where nobody explains it. */
  readonly closed?: boolean;
}

export interface Logs {
  readonly firmware: EventLog | undefined;
  readonly systemd: readonly SystemdEvent[];
}

interface Way {
  readonly value: Uint8Array;
  readonly beforeClosing: Uint8Array;
  readonly closed: boolean;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function extendBy(start: Uint8Array, digests: readonly Uint8Array[]): Uint8Array {
  return digests.reduce((value, digest) => extendPcr("sha256", value, digest), start);
}

/** Whoever asks for the secrets again on a running system closes it again. As many times as are looked for. */
const maxClosings = 16;

/** Every value that PCR 7 may have after these events: open, or closed after any of them, and again at the end. */
function waysOfPcr7(start: Uint8Array, digests: readonly Uint8Array[]): readonly Way[] {
  const open = extendBy(start, digests);
  const closed = [...digests, undefined].flatMap((_digest, at): Way[] => {
    const before = extendBy(start, digests.slice(0, at));
    const once = extendBy(before, [closingDigest, ...digests.slice(at)]);
    const values = [once];
    while (values.length < maxClosings) values.push(extendBy(values.at(-1) ?? once, [closingDigest]));
    return values.map((value) => ({ value, beforeClosing: before, closed: true }));
  });
  return [{ value: open, beforeClosing: open, closed: false }, ...closed];
}

function explain(pcr: number, value: Uint8Array, logs: Logs, replayed: string | undefined): ExplainedPcr {
  const start = replayed === undefined ? new Uint8Array(digestSizes.sha256) : Buffer.from(replayed, "hex");
  const digests = logs.systemd.filter((event) => event.pcr === pcr).map(({ digest }) => digest);
  const by = digests.length > 0 ? "systemd" : "firmware";
  const common = { pcr, value: hex(value) };
  if (pcr === secureBootPcr) {
    // Without the firmware's log it is not known from which value it was closed.
    const ways = replayed === undefined ? [] : waysOfPcr7(start, digests);
    const way = ways.find((one) => same(one.value, value));
    if (way === undefined) return { ...common, by: "nobody" };
    return { ...common, by, closed: way.closed, beforeClosing: hex(way.beforeClosing) };
  }
  if (!same(extendBy(start, digests), value)) return { ...common, by: "nobody" };
  return { ...common, by: replayed === undefined && digests.length === 0 ? "nothing" : by };
}

/** Explains each of these PCRs of the SHA-256 bank, in their order. */
export function explainQuotedPcrs(values: PcrValues, logs: Logs): readonly ExplainedPcr[] {
  const replayed =
    logs.firmware === undefined ? new Map<number, string>() : replayEventLog(logs.firmware, "sha256");
  return [...values].map(([pcr, value]) => explain(pcr, value, logs, replayed.get(pcr)));
}
