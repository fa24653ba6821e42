// Programs that the agent starts for a caller, outside of its own sandbox (units/mosd.service): as units of their own,
// which have the rights of root that the caller has as well. What they read and write goes through the agent.
import { MosError } from "../errors/mos-error.ts";

/** More than people and programs ask at a time; each has a process of the agent's beside it. */
const most = 8;
let running = 0;

/**
 * Holds one of the places that there are for such work, while it runs.
 * @throws MosError `busy` when none is left
 */
export async function inPlace<T>(doing: string, work: () => Promise<T>): Promise<T> {
  if (running >= most)
    throw new MosError("busy", `cannot ${doing}: ${most} programs run for callers of mosd already`, {
      hint: "Wait for one of them to end.",
    });
  running++;
  try {
    return await work();
  } finally {
    running--;
  }
}

/**
 * The words by which systemd-run(1) runs a program as a unit, with this process's input and output, and ends as it ends.
 * A `$` is for the program, whichever version of systemd reads it.
 */
export function asUnit(program: string, args: readonly string[]): readonly string[] {
  const options = ["--quiet", "--collect", "--pipe", "--wait", "--service-type=exec"];
  return [...options, "--", program, ...args.map((arg) => arg.replaceAll("$", "$$$$"))];
}
