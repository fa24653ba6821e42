// Exports and imports of volumes for a caller of the socket: by mosctl, outside of the agent's sandbox, which may not
// give files to others.
import { pipeline } from "node:stream/promises";
import { runPiped } from "../system/process.ts";
import type { AgentContext } from "./context.ts";
import { asUnit, inPlace } from "./outside.ts";
import { checkVolume, type VolumeWork } from "./volumes.ts";

async function mosctlVolume(args: readonly string[]) {
  return await runPiped("systemd-run", asUnit("mosctl", ["volume", ...args]));
}

/**
 * Writes what is in a volume as a tar archive.
 * @param begin is called when the first of it is there
 * @throws MosError `volume-unknown`, `volume-in-use`, `busy`, `program-failed` with what mosctl said
 */
export async function sendVolume(
  context: AgentContext,
  label: string,
  how: VolumeWork,
  to: NodeJS.WritableStream,
  begin: () => void,
): Promise<void> {
  await checkVolume(context, label, how, "export");
  await inPlace(`export the volume ${label}`, async () => {
    const flags = [...(how.stop ? ["--stop"] : []), ...(how.live ? ["--live"] : [])];
    const mosctl = await mosctlVolume(["export", ...flags, label]);
    mosctl.stdin.end();
    const archive = async function* () {
      let isFirst = true;
      for await (const piece of mosctl.stdout) {
        if (isFirst) begin();
        isFirst = false;
        yield piece;
      }
      // Before its end is written: an archive whose writer failed is none.
      await mosctl.ended;
    };
    await pipeline(archive, to);
  });
}

/**
 * Puts what a tar archive has into a volume, instead of what is there.
 * @throws MosError `volume-unknown`, `volume-in-use`, `busy`, `program-failed` with what mosctl said
 */
export async function receiveVolume(
  context: AgentContext,
  label: string,
  stop: boolean,
  from: AsyncIterable<Uint8Array>,
): Promise<void> {
  await checkVolume(context, label, { stop, live: false }, "import");
  await inPlace(`import the volume ${label}`, async () => {
    const mosctl = await mosctlVolume(["import", ...(stop ? ["--stop"] : []), label]);
    try {
      await pipeline(from, mosctl.stdin);
    } finally {
      // A source that broke off ends its input in the middle, and mosctl refuses what it got; what it says comes first.
      await mosctl.ended;
    }
  });
}
