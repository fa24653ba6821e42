// The event log of a measured boot (TCG PC Client Platform Firmware Profile 1.06, section 10): which events extended
// which PCR, as firmware and boot loader wrote it down. The log is a claim: what makes it true is that replaying it
// gives the values that the TPM has.
//
//   first event (SHA-1 form):  u32 PCR · u32 type · digest[20] · u32 size · data, which is the Spec ID event
//   every other:               u32 PCR · u32 type · u32 count · {u16 algorithm · digest}… · u32 size · data
//   Spec ID event:             "Spec ID Event03\0" · u32 class · u8 minor · u8 major · u8 errata · u8 UINTN ·
//                              u32 count · {u16 algorithm · u16 digest size}… · u8 size · vendor information
import { MosError } from "../errors/mos-error.ts";
import { type Bank, bankFacts, banks, extendPcr } from "./bank.ts";
import { FieldReader } from "./little-endian.ts";

/** By TPM_ALG_ID. */
const bankIds: ReadonlyMap<number, Bank> = new Map(banks.map((bank) => [bankFacts[bank].id, bank]));

/** EV_NO_ACTION: says something and extends nothing. */
const noAction = 0x03;

export interface LogEvent {
  readonly pcr: number;
  /** TCG_EVENTTYPE. */
  readonly type: number;
  /** One digest for each bank of the log; those of banks that mos does not know are left out. */
  readonly digests: ReadonlyMap<Bank, Uint8Array>;
  readonly data: Uint8Array;
}

export interface EventLog {
  readonly banks: readonly Bank[];
  /** Without the Spec ID event. */
  readonly events: readonly LogEvent[];
  /** What PCR 0 began with (profile section 10.4.5.3): the locality of TPM2_Startup, 0 mostly. */
  readonly startupLocality: number;
}

/** A boot makes some hundred events and 64 KiB; much more is not a log. */
const maxLogSize = 16 * 1024 * 1024;
const maxEvents = 16_384;
const maxAlgorithms = 16;
const pcrCount = 24;

const specId = Buffer.from("Spec ID Event03\0");
const localityId = Buffer.from("StartupLocality\0");

function readPcr(reader: FieldReader): number {
  const pcr = reader.u32("an event");
  if (pcr >= pcrCount) throw new SyntaxError(`an event is for PCR ${pcr}`);
  return pcr;
}

/** Algorithms of the log with their digest sizes, in the order of the Spec ID event. */
function readSpecId(reader: FieldReader): ReadonlyMap<number, number> {
  const what = "the first event";
  const pcr = reader.u32(what);
  const type = reader.u32(what);
  const digest = reader.take(20, what);
  const data = new FieldReader(reader.take(reader.u32(what), what));
  const isSpecId = Buffer.compare(data.take(specId.length, what), specId) === 0;
  if (pcr !== 0 || type !== noAction || digest.some((byte) => byte !== 0) || !isSpecId) {
    throw new SyntaxError("it does not begin with the event of crypto-agile logs");
  }
  data.take(8, what);
  const count = data.u32(what);
  if (count === 0 || count > maxAlgorithms) throw new SyntaxError(`it has ${count} algorithms`);
  const sizes = new Map<number, number>();
  for (let index = 0; index < count; index++) {
    const id = data.u16(what);
    const size = data.u16(what);
    const bank = bankIds.get(id);
    if (sizes.has(id) || size === 0 || size > 64 || (bank !== undefined && bankFacts[bank].size !== size)) {
      throw new SyntaxError(
        `it has the algorithm 0x${id.toString(16)} twice or with digests of ${size} bytes`,
      );
    }
    sizes.set(id, size);
  }
  data.take(data.u8(what), what);
  data.end(what);
  return sizes;
}

function readEvent(reader: FieldReader, sizes: ReadonlyMap<number, number>): LogEvent {
  const pcr = readPcr(reader);
  const type = reader.u32("an event");
  const count = reader.u32("an event");
  if (count !== sizes.size)
    throw new SyntaxError(`an event has ${count} digests, and there are ${sizes.size} algorithms`);
  const seen = new Set<number>();
  const digests = new Map<Bank, Uint8Array>();
  for (let index = 0; index < count; index++) {
    const id = reader.u16("an event");
    const size = sizes.get(id);
    if (size === undefined || seen.has(id))
      throw new SyntaxError("an event has a digest that does not belong there");
    seen.add(id);
    const digest = reader.take(size, "an event");
    const bank = bankIds.get(id);
    if (bank !== undefined) digests.set(bank, digest);
  }
  const data = reader.take(reader.u32("an event"), "an event");
  return { pcr, type, digests, data };
}

function localityOf(events: readonly LogEvent[]): number {
  const found = events.filter(
    ({ pcr, type, data }) =>
      pcr === 0 &&
      type === noAction &&
      data.length === localityId.length + 1 &&
      Buffer.compare(data.subarray(0, localityId.length), localityId) === 0,
  );
  if (found.length > 1) throw new SyntaxError("it has two start-up localities");
  return found[0]?.data.at(-1) ?? 0;
}

/**
 * Reads a crypto-agile event log, all of it.
 * @throws MosError `event-log-invalid`
 */
export function parseEventLog(bytes: Uint8Array, about: string): EventLog {
  try {
    if (bytes.length > maxLogSize) throw new SyntaxError(`it has more than ${maxLogSize} bytes`);
    const reader = new FieldReader(bytes);
    const sizes = readSpecId(reader);
    const known = [...sizes.keys()].flatMap((id) => bankIds.get(id) ?? []);
    const events: LogEvent[] = [];
    while (reader.left > 0) {
      if (events.length >= maxEvents) throw new SyntaxError(`it has more than ${maxEvents} events`);
      events.push(readEvent(reader, sizes));
    }
    return { banks: known, events, startupLocality: localityOf(events) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("event-log-invalid", `cannot read the event log: ${error.message}`, {
      about,
      cause: error,
    });
  }
}

/** Whether an event changes its PCR. */
export function extendsPcr(event: LogEvent): boolean {
  return event.type !== noAction;
}

/** What a PCR is before its first event: zeros, or ones for those of the dynamic root of trust (17 to 22). */
function initialValue(log: EventLog, bank: Bank, pcr: number): Uint8Array {
  const value = Buffer.alloc(bankFacts[bank].size, pcr >= 17 && pcr <= 22 ? 0xff : 0);
  if (pcr === 0) value[value.length - 1] = log.startupLocality;
  return value;
}

/**
 * The values that the events of the log give, for every PCR that has one.
 * @returns PCR → value, hex, in the order of the PCRs
 */
export function replayEventLog(log: EventLog, bank: Bank): ReadonlyMap<number, string> {
  const values = new Map<number, Uint8Array>();
  for (const event of log.events.filter(extendsPcr)) {
    const digest = event.digests.get(bank);
    if (digest === undefined) continue;
    const before = values.get(event.pcr) ?? initialValue(log, bank, event.pcr);
    values.set(event.pcr, extendPcr(bank, before, digest));
  }
  return new Map(
    [...values]
      .toSorted(([a], [b]) => a - b)
      .map(([pcr, value]) => [pcr, Buffer.from(value).toString("hex")]),
  );
}
