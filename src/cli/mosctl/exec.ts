// `mosctl exec`: a program inside a service, by podman.
import { buildCommand } from "@stricli/core";
import { requireRunning } from "../../agent/service-action.ts";
import { MosError } from "../../errors/mos-error.ts";
import { containerName } from "../../services/unit-names.ts";
import { runAttached } from "../../system/process.ts";
import { systemd } from "../../systemd/manager.ts";
import { type CliContext, withExamples } from "../command.ts";
import { serviceArgument } from "./service-name.ts";

const word = {
  brief: "program and arguments, after --",
  placeholder: "CMD",
  parse: (input: string) => input,
};

export const execCommand = withExamples(
  buildCommand<Record<never, never>, [string, ...string[]], CliContext>({
    docs: {
      brief: "Run a program inside a service",
      fullDescription: `In the service's own root, user namespace, limits and capabilities, by podman exec; with a terminal when there is
one. Exits with what the program exits with. Root only.`,
    },
    parameters: {
      positional: { kind: "array", parameter: word, minimum: 2 },
    },
    async func(_flags, service, ...argv) {
      const name = serviceArgument.parse(service);
      if (process.getuid?.() !== 0)
        throw new MosError(
          "permission-denied",
          `not permitted to run a program inside ${name}: only root is`,
          {
            about: name,
          },
        );
      await requireRunning(systemd, name);
      const tty = process.stdin.isTTY && process.stdout.isTTY ? ["--tty"] : [];
      this.outcome.exitCode = await runAttached("podman", [
        ...["exec", "--interactive", ...tty, "--", containerName(name)],
        ...argv,
      ]);
    },
  }),
  [
    ["mosctl exec zot -- /bin/sh", "look around"],
    ["mosctl exec db -- /usr/bin/pg_dump -U app > app.sql", "what it prints can go anywhere"],
  ],
);
