// What is installed of each set: in the state directory NAME.json, and NAME.journal.json while it changes. A ledger
// stays when its set is removed, because it knows which serials are old.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { removeFile, writeFileAtomic } from "../system/atomic-file.ts";
import { parseJson } from "../system/json.ts";
import { audienceSchema } from "./audience.ts";
import {
  appSchema,
  destinationSchema,
  entriesSchema,
  maxEntries,
  serialSchema,
  setNameSchema,
} from "./set-manifest.ts";
import { stepSchema } from "./steps.ts";

/** Levels of one set that a device remembers. */
export const maxLevels = 256;

const releaseSchema = z.strictObject({ serial: serialSchema, manifest: z.string().regex(/^[0-9a-f]{128}$/) });

const levelSchema = z.strictObject({
  for: audienceSchema,
  /** Which release of it counts here; absent when it is for others, or was removed. */
  counts: releaseSchema.extend({ source: z.enum(["kept", "image"]) }).optional(),
  /** The release that was installed here and is kept, which need not be the one that counts. */
  kept: releaseSchema.optional(),
  /** The newest that was ever installed here. What the image brings has its own protection from going back. */
  newest: releaseSchema.optional(),
  /** Files and links of `entries` that come from it; none where it is for others. */
  paths: z.array(z.string()).max(maxEntries),
});
export type Level = z.infer<typeof levelSchema>;

const ledgerSchema = z.strictObject({
  version: z.literal(1),
  name: setNameSchema,
  serial: serialSchema,
  /** SHA-512 of the list that was installed. */
  manifest: z.string().regex(/^[0-9a-f]{128}$/),
  destination: destinationSchema,
  /** What belongs to the set; nothing, once it was removed. */
  entries: entriesSchema,
  app: appSchema.optional(),
  /** Of a set in levels (levels.ts): all that were ever seen. `entries` is what they come to. */
  levels: z.array(levelSchema).max(maxLevels).optional(),
  /** Of an app: the serial of the version that can come back. */
  previous: serialSchema.optional(),
  /** The newest that was ever installed, where that is not this one. */
  highest: releaseSchema.optional(),
  /** What was tried since and did not run. */
  failed: releaseSchema.optional(),
});
export type Ledger = z.infer<typeof ledgerSchema>;

const journalSchema = z.strictObject({
  version: z.literal(1),
  /** `apply`: go on; `undo`: go back. */
  phase: z.enum(["apply", "undo"]),
  /** Whether it is on trial: whoever finds it then goes back. */
  trial: z.boolean(),
  steps: z.array(stepSchema),
  /** What holds when it is done. */
  ledger: ledgerSchema,
});
export type Journal = z.infer<typeof journalSchema>;

const ledgerSuffix = ".json";
const journalSuffix = ".journal.json";

async function readState<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const damaged = (why: string) =>
    new MosError("state-invalid", `${path} is damaged: ${why}`, { about: path });
  let json: unknown;
  try {
    json = parseJson(bytes, path);
  } catch {
    throw damaged("it is not JSON");
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw damaged(z.prettifyError(parsed.error));
  return parsed.data;
}

/** Whether a set's name would be taken for a journal's. */
function isLedger(name: string): boolean {
  return name.endsWith(ledgerSuffix) && !name.endsWith(journalSuffix) && !name.startsWith(".");
}

async function namesIn(state: string): Promise<readonly string[]> {
  try {
    return (await readdir(state)).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** All sets that were ever installed. @throws MosError `state-invalid` */
export async function readLedgers(state: string): Promise<readonly Ledger[]> {
  const names = (await namesIn(state)).filter(isLedger);
  const ledgers = await Promise.all(names.map((name) => readState(join(state, name), ledgerSchema)));
  return ledgers.flatMap((ledger) => ledger ?? []);
}

/** Replaces what is known of a set, durably. */
export async function writeLedger(state: string, ledger: Ledger): Promise<void> {
  const path = join(state, `${ledger.name}${ledgerSuffix}`);
  await writeFileAtomic(path, `${JSON.stringify(ledger)}\n`, 0o600);
}

function isJournal(name: string): boolean {
  return name.endsWith(journalSuffix) && !name.startsWith(".");
}

/** Whether a change was begun and is not done. */
export async function hasJournals(state: string): Promise<boolean> {
  return (await namesIn(state)).some(isJournal);
}

/** Changes that were begun and are not done. @throws MosError `state-invalid` */
export async function readJournals(state: string): Promise<readonly Journal[]> {
  const names = (await namesIn(state)).filter(isJournal);
  const journals = await Promise.all(names.map((name) => readState(join(state, name), journalSchema)));
  return journals.flatMap((journal) => journal ?? []);
}

function journalPath(state: string, { name }: Ledger): string {
  return join(state, `${name}${journalSuffix}`);
}

export async function writeJournal(state: string, journal: Journal): Promise<void> {
  await writeFileAtomic(journalPath(state, journal.ledger), `${JSON.stringify(journal)}\n`, 0o600);
}

export async function removeJournal(state: string, { ledger }: Journal): Promise<void> {
  await removeFile(journalPath(state, ledger));
}
