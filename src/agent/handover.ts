// From the initrd stage to the service stage: where the first could do everything, the second has nothing to do.
import { MosError } from "../errors/mos-error.ts";
import { readGeneration } from "../generation/generations.ts";
import { readJournal } from "../generation/journal.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { Places } from "../services/unit-names.ts";
import type { BootOutcome } from "./boot.ts";
import type { AgentContext } from "./context.ts";
import { readInitrdRecord, readServiceRecord, writeServiceRecord } from "./stage-record.ts";

/**
 * What the initrd stage has done already, at the first start of the agent in a boot; undefined when the agent has to
 * verify and bring up by itself.
 */
export async function takeOver({
  places,
}: AgentContext): Promise<Extract<BootOutcome, { kind: "nothing-to-do" }> | undefined> {
  const record = readInitrdRecord(places);
  if (record?.generation === undefined || readServiceRecord(places) !== undefined) return undefined;
  const { generation, manifest: digest } = record;
  if (digest === undefined || (await digestOfGeneration(places, generation)) !== digest) return undefined;
  // A secret may open now, or an image be readable.
  if (record.without === undefined || record.without.length > 0) return undefined;
  const journal = await readJournal(places);
  if (journal !== undefined && journal.phase !== "trial") return undefined;
  return {
    ...{ kind: "nothing-to-do", generation, digest, problems: [], damage: [] },
    ...{ trial: journal, givenUp: undefined },
  };
}

/** Undefined when the state that is mounted now is another one than the initrd had, or can no longer be read. */
async function digestOfGeneration(places: Places, generation: number): Promise<Digest | undefined> {
  try {
    return digestOf((await readGeneration(places, generation)).manifest);
  } catch (error) {
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

/** Writes down what the service stage made of it, where there was an initrd stage. */
export function rememberServiceStage({ places }: AgentContext, outcome: BootOutcome): void {
  if (readInitrdRecord(places) === undefined || readServiceRecord(places) !== undefined) return;
  writeServiceRecord(places, { version: 1, outcome: outcome.kind });
}
