// What systemd measured after the firmware had handed over: /run/log/systemd/tpm2-measure.log, a sequence of JSON
// objects (RFC 7464: each between 0x1e and a line feed) in the manner of TCG's CEL-JSON. Fields that systemd may add
// are passed over; so are records that are about no PCR.
import * as z from "zod";
import { parseJson } from "../system/json.ts";

/** One extend of a PCR. */
export interface SystemdEvent {
  readonly pcr: number;
  /** SHA-256. */
  readonly digest: Uint8Array;
  /** What systemd says that it measured; nothing proves it. */
  readonly text: string;
}

/** A boot measures some twenty things. */
const maxRecords = 512;

const recordSchema = z.looseObject({
  pcr: z.int().min(0).max(23),
  digests: z
    .array(z.looseObject({ hashAlg: z.string().max(32), digest: z.string().regex(/^([0-9a-f]{2}){1,64}$/) }))
    .max(16),
  content: z.looseObject({ string: z.string().max(4096).optional() }).optional(),
});

/**
 * Reads the log.
 * @returns the measurements of PCRs in their order; undefined when it cannot be understood, and then it explains
 * nothing
 */
export function parseSystemdLog(bytes: Uint8Array): readonly SystemdEvent[] | undefined {
  const text = Buffer.from(bytes).toString("utf8");
  const [before, ...records] = text.split("\x1e");
  if (before !== "" || records.length > maxRecords) return undefined;
  const events: SystemdEvent[] = [];
  for (const record of records) {
    const event = parseRecord(record);
    if (event === undefined) return undefined;
    if (event !== "about no PCR") events.push(event);
  }
  return events;
}

function parseRecord(text: string): SystemdEvent | "about no PCR" | undefined {
  let json: unknown;
  try {
    json = parseJson(Buffer.from(text), "a record");
  } catch {
    return undefined;
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  if (!("pcr" in json)) return "about no PCR";
  const result = recordSchema.safeParse(json);
  const digest = result.data?.digests.find(({ hashAlg }) => hashAlg === "sha256")?.digest;
  if (!result.success || digest?.length !== 64) return undefined;
  return {
    pcr: result.data.pcr,
    digest: Uint8Array.from(Buffer.from(digest, "hex")),
    text: result.data.content?.string ?? "",
  };
}
