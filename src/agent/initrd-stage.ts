// mosd --stage=initrd: the first stage of a boot (DESIGN section 4). The program of the verified root, run before the
// system changes over to that root, brings up the current generation as far as that goes without a service manager: it
// verifies, renders, and writes the units where the running system's first transaction finds them. Its outcome is a
// word, written down; a policy says with which of them the device boots on.
import { exitCodes } from "../errors/catalogue.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { bootTransaction } from "../systemd/boot-transaction.ts";
import { loadPolicy, type Policy, type StageOutcome } from "../trust/policy.ts";
import { type BootOutcome, type BootTimings, boot } from "./boot.ts";
import { type AgentContext, deviceContext, processAgeMs } from "./context.ts";
import { deviceFailures } from "./device-failures.ts";
import { stateReport } from "./initrd-state.ts";
import { log } from "./log.ts";
import { type InitrdRecord, writeInitrdRecord } from "./stage-record.ts";

type Ending = Omit<InitrdRecord, "version" | "bootsOn" | "state">;

function ofError(outcome: StageOutcome, error: MosError): Ending {
  const { code, message, about } = error;
  return { outcome, error: { code, message, ...(about === undefined ? {} : { about }) } };
}

/** The word for how a boot went. */
function endingOf(outcome: BootOutcome): Ending {
  switch (outcome.kind) {
    case "no-generation":
      return { outcome: "no-generation" };
    case "refused":
      // Of the device itself, not of what it was given: a disk that cannot be written yet, say.
      return ofError(deviceFailures.has(outcome.error.code) ? "failed" : "refused", outcome.error);
    default: {
      const [damage] = outcome.damage;
      const why = outcome.givenUp ?? damage;
      const { generation, digest: manifest } = outcome;
      const without = outcome.problems.map(({ service }) => service);
      return {
        ...(why === undefined ? { outcome: "applied" } : ofError("unhealthy-fallback", why)),
        ...{ generation, manifest, without },
      };
    }
  }
}

/** The policy, as far as it can be read. One that came with the initrd and cannot be read lets nothing boot. */
async function mayBootOn({ trust }: AgentContext, outcome: StageOutcome): Promise<boolean> {
  let policy: Policy;
  try {
    policy = await loadPolicy(trust.policies, trust.builtIn);
  } catch (error) {
    return !asMosError(error).about?.startsWith(trust.initrd);
  }
  return policy.bootOn.includes(outcome);
}

/** Brings the current generation up as part of a boot that has not begun. Never throws. */
export async function initrdStage(device: AgentContext): Promise<{
  readonly record: InitrdRecord;
  readonly timings: BootTimings | undefined;
}> {
  const context = { ...device, systemd: bootTransaction(device.unitDirectory) };
  const state = stateReport(context.places);
  const end = async (ending: Ending): Promise<InitrdRecord> => ({
    ...{ version: 1, ...ending, bootsOn: await mayBootOn(context, ending.outcome) },
    ...(state === undefined ? {} : { state }),
  });
  if (state?.startsWith("missing ")) {
    const error = new MosError("state-missing", `cannot find the device's state: ${state}`);
    return { record: await end(ofError("no-state", error)), timings: undefined };
  }
  const { outcome, timings } = await boot(context);
  return { record: await end(endingOf(outcome)), timings };
}

function report({ outcome, bootsOn, generation, state, without, error }: InitrdRecord, fields: object): void {
  const more = { outcome, state, ...fields, ...(without?.length ? { without } : {}) };
  const what =
    generation === undefined ? "nothing is brought up" : `generation ${generation} is part of this boot`;
  const on = bootsOn ? "" : "; the policy does not let the device boot on";
  if (error === undefined) log.info(more, `initrd stage: ${what}${on}`);
  else
    log.error(
      { code: error.code, about: error.about, ...more },
      `initrd stage: ${what}: ${error.message}${on}`,
    );
}

/** Runs the stage in an initrd. Exits with 4 when the device must not boot on. */
export async function main(): Promise<void> {
  const context = deviceContext();
  const start = processAgeMs();
  const { record, timings } = await initrdStage(context);
  const times = Object.entries({ start, ...timings }).map(([part, ms]) => [`${part}_ms`, Math.round(ms)]);
  writeInitrdRecord(context.places, record);
  report(record, Object.fromEntries(times));
  process.exitCode = record.bootsOn ? 0 : exitCodes.refused;
}
