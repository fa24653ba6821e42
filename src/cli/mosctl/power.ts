// `mosctl start|stop|restart`: one service by hand, by systemd. What the manifest says comes back with the next boot or
// update.
import { buildCommand, type Command } from "@stricli/core";
import { exitCodes } from "../../errors/catalogue.ts";
import { MosError } from "../../errors/mos-error.ts";
import { run } from "../../system/process.ts";
import { systemd } from "../../systemd/manager.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { knownUnit, serviceArgument } from "./service-name.ts";

interface Verb {
  readonly name: "start" | "stop" | "restart";
  readonly brief: string;
  readonly done: string;
  readonly isUpAfter: boolean;
  readonly work: (unit: string) => Promise<void>;
}

function powerCommand({ name, brief, done, isUpAfter, work }: Verb): Command<CliContext> {
  return withExamples(
    buildCommand<JsonFlag, [string], CliContext>({
      docs: {
        brief,
        fullDescription: `Waits until it is done. Services that depend on it are stopped and restarted with it, and start what they need. Holds until the next boot or
update, which bring up what the manifest says. Root only. Exits with 8 when the service does not come up.`,
      },
      parameters: { flags: { json: jsonFlag }, positional: { kind: "tuple", parameters: [serviceArgument] } },
      async func(flags, service) {
        const { stdout } = this.terminal;
        if (process.getuid?.() !== 0)
          throw new MosError("permission-denied", `not permitted to ${name} ${service}: only root is`, {
            about: service,
          });
        const unit = await knownUnit(service);
        await work(unit);
        const [shown] = await systemd.showUnits([unit], ["ActiveState", "Result"]);
        const state = shown?.["ActiveState"] ?? "unknown";
        if (isUpAfter && state !== "active") {
          const log = await systemd.lastLogLines(unit, 3).catch(() => []);
          throw new MosError("service-failed", `${service} did not come up: ${shown?.["Result"] ?? state}`, {
            about: unit,
            hint: `mosctl logs ${service}`,
            problems: log,
          });
        }
        this.outcome.exitCode = !isUpAfter && state === "active" ? exitCodes.failure : 0;
        stdout.write(flags.json ? jsonText({ service, unit, state }) : `${service} ${done}.\n`);
      },
    }),
    [[`mosctl ${name} zot`, `${name} the service zot`]],
  );
}

export const startCommand = powerCommand({
  name: "start",
  brief: "Start a service that is stopped",
  done: "is up",
  isUpAfter: true,
  work: (unit) => systemd.startUnits([unit]),
});

export const stopCommand = powerCommand({
  name: "stop",
  brief: "Stop a service until the next boot or update",
  done: "is stopped",
  isUpAfter: false,
  work: (unit) => systemd.stopUnits([unit]),
});

export const restartCommand = powerCommand({
  name: "restart",
  brief: "Stop a service and start it again",
  done: "is up again",
  isUpAfter: true,
  // One job of systemd's, so that those who depend on it come back with it.
  work: async (unit) => {
    await systemd.resetFailed([unit]);
    await run("systemctl", ["restart", "--", unit], { timeoutMs: 180_000, accept: [0, 1] });
  },
});
