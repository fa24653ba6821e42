// What the firmware's log says about Secure Boot, once PCR 7 has proved it: whether it was on, and whose keys vouched
// for what was started.
import { createHash } from "node:crypto";
import { describeEvent, readVariableData } from "../efi/event-description.ts";
import { type EventLog, extendsPcr, type LogEvent } from "../efi/event-log.ts";
import { guidSize } from "../efi/guid.ts";
import { variables } from "../efi/variable.ts";
import { secureBootPcr } from "../provision/policies.ts";
import { digestSizes } from "../tpm/hashes.ts";
import { tags } from "../trust/der.ts";

export interface MeasuredBoot {
  /** `unverified`: no log says it, or none that PCR 7 proves. */
  readonly secureBoot: "enabled" | "disabled" | "unverified";
  /** Who vouched for programs, in the order of their start. */
  readonly vouched: readonly Voucher[];
}

/** An entry of a key database that let a program start. */
interface Voucher {
  /** For a person: `db vouched: CN=UKI Production`. Anybody may call a key of theirs so. */
  readonly text: string;
  /** SHA-256 of the certificate, hex; undefined for an entry that is none. */
  readonly fingerprint: string | undefined;
}

export const unknownBoot: MeasuredBoot = { secureBoot: "unverified", vouched: [] };

/** The value that an event says SecureBoot has; undefined when it is about something else. */
function secureBootIn(event: LogEvent): boolean | undefined {
  try {
    const { name, guid, data } = readVariableData(event.data);
    const { secureBoot } = variables;
    if (name !== secureBoot.name || guid !== secureBoot.guid) return undefined;
    return data.length === 1 && data[0] === 1;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** EFI_SIGNATURE_DATA of an entry: who put it there, and the certificate (UEFI 2.10 section 32.4.1). */
function fingerprintIn({ data }: LogEvent): string | undefined {
  const der = readVariableData(data).data.subarray(guidSize);
  // A SEQUENCE, which every certificate is; hashes and switches are shorter.
  if (der.length <= digestSizes.sha512 || der[0] !== tags.sequence) return undefined;
  return createHash("sha256").update(der).digest("hex");
}

/**
 * Reads the events of PCR 7. The state of Secure Boot counts only from before the separator: what comes after it, any
 * program that was started could have measured.
 * @param log leads to the PCR 7 of the quote
 */
export function readMeasuredBoot(log: EventLog): MeasuredBoot {
  const events = log.events
    .filter((event) => event.pcr === secureBootPcr && extendsPcr(event))
    .map((event) => ({ event, ...describeEvent(event) }));
  const end = events.findIndex(({ type }) => type === "EV_SEPARATOR");
  const states = events
    .slice(0, Math.max(end, 0))
    .filter(({ type, isProven }) => type === "EV_EFI_VARIABLE_DRIVER_CONFIG" && isProven === true)
    .map(({ event }) => secureBootIn(event))
    .filter((state) => state !== undefined);
  const vouched = events
    .filter(({ type, isProven, text }) => type === "EV_EFI_VARIABLE_AUTHORITY" && isProven && text !== "")
    .map(({ text, event }) => ({ text, fingerprint: fingerprintIn(event) }));
  if (states.length === 0) return { ...unknownBoot, vouched };
  return { secureBoot: states.every((isOn) => isOn) ? "enabled" : "disabled", vouched };
}
