// `mosctl start|stop|restart`: one service by hand, by systemd. What the manifest says comes back with the next boot or
// update.
import { buildCommand, type Command } from "@stricli/core";
import { requestServiceAction } from "../../agent/client.ts";
import { actOnService, type ServiceAction } from "../../agent/service-action.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { MosError } from "../../errors/mos-error.ts";
import { systemd } from "../../systemd/manager.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { serviceArgument } from "./service-name.ts";

interface Verb {
  readonly name: ServiceAction;
  readonly brief: string;
  readonly done: string;
}

function powerCommand({ name, brief, done }: Verb): Command<CliContext> {
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
        const result =
          (await requestServiceAction(service, name)) ?? (await actOnService(systemd, service, name));
        this.outcome.exitCode = name === "stop" && result.state === "active" ? exitCodes.failure : 0;
        stdout.write(flags.json ? jsonText(result) : `${service} ${done}.\n`);
      },
    }),
    [[`mosctl ${name} zot`, `${name} the service zot`]],
  );
}

export const startCommand = powerCommand({
  name: "start",
  brief: "Start a service that is stopped",
  done: "is up",
});

export const stopCommand = powerCommand({
  name: "stop",
  brief: "Stop a service until the next boot or update",
  done: "is stopped",
});

export const restartCommand = powerCommand({
  name: "restart",
  brief: "Stop a service and start it again",
  done: "is up again",
});
