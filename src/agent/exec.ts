// A program inside a service, for a caller of the socket: what it prints comes as it is printed.
import { containerName } from "../services/unit-names.ts";
import { runRelayed } from "../system/process.ts";
import type { ServiceManager } from "../systemd/manager.ts";
import type { ExecOutput, ExecResult } from "./api.ts";
import { asUnit, inPlace } from "./outside.ts";
import { requireRunning } from "./service-action.ts";

interface ExecRequest {
  readonly service: string;
  readonly command: readonly string[];
  /** What it reads, in base64; nothing when left out. */
  readonly input?: string | undefined;
}

/**
 * Runs a program in the root, user namespace, limits and capabilities of a service that runs, by podman-exec(1). It goes
 * on when the caller goes away.
 * @throws MosError `service-unknown`, `service-stopped`, `busy`, `program-missing`
 */
export async function execInService(
  systemd: ServiceManager,
  { service, command, input }: ExecRequest,
  onOutput: (output: ExecOutput) => Promise<void>,
): Promise<ExecResult> {
  await requireRunning(systemd, service);
  const interactive = input === undefined ? [] : ["--interactive"];
  const words = asUnit("podman", ["exec", ...interactive, "--", containerName(service), ...command]);
  const exitCode = await inPlace(`run a program inside ${service}`, () =>
    runRelayed("systemd-run", words, Buffer.from(input ?? "", "base64"), (stream, piece) =>
      onOutput({ stream, data: piece.toString("base64") }),
    ),
  );
  return { exitCode };
}
