// Why a PCR has the value that it has: the log's events for it, and whether they lead to that value at all.

import type { Bank } from "./bank.ts";
import { describeEvent, type EventDescription } from "./event-description.ts";
import { type EventLog, extendsPcr, replayEventLog } from "./event-log.ts";

export interface PcrExplanation {
  readonly pcr: number;
  /** What the events give, hex; undefined when the log has none for this PCR. */
  readonly replayed: string | undefined;
  /** What the TPM says, hex; undefined when it was not asked. */
  readonly actual: string | undefined;
  /**
   * `differs`: the events lead elsewhere, so the log is not true, or not all of it is there. `unlogged`: the log has
   * no events for what extended this PCR; the kernel's IMA does so with PCR 10, and keeps a log of its own.
   * `unknown`: the TPM was not asked.
   */
  readonly verdict: "matches" | "differs" | "unlogged" | "unknown";
  readonly events: readonly (EventDescription & { readonly digest: string })[];
}

function compare(replayed: string | undefined, actual: string | undefined): PcrExplanation["verdict"] {
  if (actual === undefined) return "unknown";
  if (replayed !== undefined) return replayed === actual ? "matches" : "differs";
  return /^(0+|f+)$/.test(actual) ? "matches" : "unlogged";
}

/**
 * Explains every PCR that the log or the TPM knows, in their order. A PCR without events matches when nothing
 * extended it.
 * @param actual PCR → value of the same bank, hex
 */
export function explainPcrs(
  log: EventLog,
  bank: Bank,
  actual: ReadonlyMap<number, string>,
): readonly PcrExplanation[] {
  const replayed = replayEventLog(log, bank);
  const pcrs = [...new Set([...replayed.keys(), ...actual.keys()])].toSorted((a, b) => a - b);
  return pcrs.map((pcr) => {
    const [ours, theirs] = [replayed.get(pcr), actual.get(pcr)?.toLowerCase()];
    const events = log.events
      .filter((event) => event.pcr === pcr && extendsPcr(event))
      .map((event) => ({
        ...describeEvent(event),
        digest: Buffer.from(event.digests.get(bank) ?? []).toString("hex"),
      }));
    return { pcr, replayed: ours, actual: theirs, verdict: compare(ours, theirs), events };
  });
}
