// The journal: the transaction under way, in /var/lib/mos/journal.json. It is there from the moment at which a new
// generation may run until the device has settled on one.
import { readFile } from "node:fs/promises";
import * as z from "zod";
import { systemCode } from "../errors/mos-error.ts";
import type { Places } from "../services/unit-names.ts";
import { removeFile, writeFileAtomic } from "../system/atomic-file.ts";
import { parseStateDocument } from "../system/state-document.ts";
import { journalPath } from "./places.ts";
import type { Transaction } from "./transaction.ts";

const generationSchema = z.int().min(1).max(999_999_999);

/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h). */
const commandLineSchema = z.string().min(1).max(2048);

const journalSchema = z.strictObject({
  version: z.literal(1),
  kind: z.enum(["update", "rollback"]),
  from: generationSchema.nullable(),
  to: generationSchema,
  phase: z.enum(["reboot", "trial", "commit", "revert"]),
  tries: z.int().min(0).max(100),
  reason: z.strictObject({ code: z.string().max(64), message: z.string().max(64 * 1024) }).optional(),
  excused: z.array(z.string().max(256)).max(1024),
  startedAt: z.iso.datetime(),
  system: z.strictObject({ from: commandLineSchema, to: commandLineSchema }).optional(),
});

/**
 * The transaction under way, or undefined when there is none.
 * @throws MosError `state-invalid` when the journal is damaged, `state-newer`
 */
export async function readJournal(places: Places): Promise<Transaction | undefined> {
  const path = journalPath(places);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const hint = "The generation that ran before goes on running. mosctl update REF tries the new one again.";
  const { version: _, ...transaction } = parseStateDocument(bytes, path, journalSchema, hint);
  return transaction;
}

/** Replaces the journal, durably. */
export async function writeJournal(places: Places, transaction: Transaction): Promise<void> {
  await writeFileAtomic(journalPath(places), `${JSON.stringify({ version: 1, ...transaction })}\n`, 0o600);
}

/** Ends the transaction, durably. */
export async function removeJournal(places: Places): Promise<void> {
  await removeFile(journalPath(places));
}
