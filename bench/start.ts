// What starting mos costs, next to starting Node.
import { stat } from "node:fs/promises";
import { peakMemory, timeInTurn } from "./measure.ts";
import { type Bench, MiB, ms, node, ratio, type Subject } from "./subject.ts";

export async function startUp({ mos }: Bench): Promise<Subject> {
  const sides = {
    "node -e 0": { argv: [node, "-e", "0"] },
    "mosctl --version": { argv: [mos, "mosctl", "--version"] },
    "mosctl status (nothing applied)": { argv: [mos, "mosctl", "status"] },
  };
  const timings = await timeInTurn(sides, 15);
  const rows = await Promise.all(
    Object.entries(sides).map(async ([name, { argv }]) => {
      const timing = timings[name as keyof typeof sides];
      const peak = await peakMemory(argv);
      return [
        name,
        ms(timing.wall),
        ms(timing.cpu),
        ratio(timing.cpu, timings["node -e 0"].cpu),
        `${(peak / MiB).toFixed(0)} MiB`,
      ];
    }),
  );
  const size = (await stat(mos)).size;
  return {
    title: `Start (the executable has ${(size / MiB).toFixed(1)} MiB)`,
    headings: ["command", "wall ms", "CPU ms", "CPU ratio", "peak memory"],
    rows,
  };
}
