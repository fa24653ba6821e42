// `mosctl recover`: what mos-recovery.service does where none of the generations can be verified, and a person may.
import { buildCommand } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { escapeControls, jsonText } from "../output.ts";
import { readStatus } from "./read-status.ts";
import { runUpdate } from "./update.ts";

export const recoverCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Get a release when nothing on this device can be verified",
      fullDescription: `Tries a medium whose file system has the label MOS-RECOVER (its OCI layout mos, tag recovery), the channel of
update.json, and the release that came with the system, in this order, until one is applied. Each is checked as every
update is. Does nothing where the current generation can be verified. mos-recovery.service calls it, again and again, as
long as nothing can. Root only.`,
    },
    parameters: { flags: { json: jsonFlag } },
    async func({ json }) {
      const { stdout, stderr } = this.terminal;
      const { health, error, generation } = await readStatus();
      if (health !== "refused") {
        if (json) return stdout.write(jsonText({ outcome: "nothing-to-do" }));
        const why =
          generation === undefined
            ? "no manifest was applied"
            : `generation ${generation.number} is verified`;
        return stdout.write(`Nothing to do: ${why}.\n`);
      }
      if (process.getuid?.() !== 0)
        throw new MosError("permission-denied", "not permitted to recover this device: only root is");
      stderr.write(`mos: nothing on this device can be verified: ${escapeControls(error?.message ?? "")}\n`);
      const [{ deviceContext }, { recover }] = await Promise.all([
        import("../../agent/context.ts"),
        import("../../agent/recovery.ts"),
      ]);
      const { what, reference, result } = await recover(deviceContext(), (source) => {
        stderr.write(`mos: trying ${source.what}: ${escapeControls(source.reference)}\n`);
        const asked = { reference: source.reference, allowOlder: false, retry: true, whenIdle: false };
        return runUpdate({ ...asked, waitSeconds: 0 }, () => undefined);
      });
      if (json) return stdout.write(jsonText({ ...result, outcome: "recovered", from: reference }));
      const then = result.outcome === "awaits-reboot" ? "runs once the device was started anew" : "runs";
      stdout.write(`Recovered by ${what}: generation ${result.generation} ${then}.\n`);
    },
  }),
  [["mosctl recover", "once more, now"]],
);
