// From the initrd stage to the service stage: where the first could do everything, the second has nothing to do.
import { readJournal } from "../generation/journal.ts";
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
  // A secret may open now, or an image be readable.
  if (record.without === undefined || record.without.length > 0) return undefined;
  const journal = await readJournal(places);
  if (journal !== undefined && journal.phase !== "trial") return undefined;
  const { generation } = record;
  return { kind: "nothing-to-do", generation, problems: [], damage: [], trial: journal, givenUp: undefined };
}

/** Writes down what the service stage made of it, where there was an initrd stage. */
export function rememberServiceStage({ places }: AgentContext, outcome: BootOutcome): void {
  if (readInitrdRecord(places) === undefined || readServiceRecord(places) !== undefined) return;
  writeServiceRecord(places, { version: 1, outcome: outcome.kind });
}
