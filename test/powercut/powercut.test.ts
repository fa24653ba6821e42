// Power cuts of whole machines (F02, F03): two guests side by side are killed at named points and at random instants of
// what they do, and have to come up each time with one whole generation.
import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { buildUnderTest } from "../build-under-test.ts";
import { Campaign, type Cut, points } from "./campaign.ts";
import { Random } from "./random.ts";

const guests = 2;
const cuts = Number(process.env["MOS_POWERCUT_CUTS"] ?? 40);
const seed = Number(process.env["MOS_POWERCUT_SEED"] ?? randomInt(2 ** 31));

async function run(guest: number, executable: string): Promise<Cut[]> {
  const done: Cut[] = [];
  await using campaign = await Campaign.create(String(guest), executable, new Random(seed + guest));
  for (let round = guest; round < cuts; round += guests) {
    // Each guest takes its part of the points, in order; every fourth cut comes at any instant.
    const local = done.length;
    const at = guest + guests * (local - Math.floor(local / 4));
    const point = local % 4 === 3 ? undefined : points[at % points.length];
    try {
      const cut = await campaign.cut(point);
      done.push(cut);
      process.stdout.write(
        `${String(round + 1).padStart(3)}. ${cut.operation}, cut ${cut.instant}: ${cut.after} runs\n`,
      );
    } catch (error) {
      const before = done.map((cut) => `${cut.operation}, ${cut.instant}`).join("\n");
      const what = error instanceof Error ? error.message : String(error);
      throw new Error(
        `cut ${round + 1} of seed ${seed} (${point ?? "random"}): ${what}\n${await campaign.explain()}\nbefore it:\n${before}`,
        { cause: error },
      );
    }
  }
  return done;
}

test(`${cuts} power cuts (./dev test powercut --cuts ${cuts} --seed ${seed})`, async () => {
  process.stdout.write(`seed ${seed}\n`);
  const { executable } = await buildUnderTest("faults");
  const results = await Promise.all(Array.from({ length: guests }, (_, guest) => run(guest, executable)));
  const all = results.flat();
  expect(all).toHaveLength(cuts);
  // Some instants are before, some after the point of no return, or the cuts were no test of it.
  if (cuts >= 20) expect(new Set(all.map(({ operation, after }) => operation.endsWith(after))).size).toBe(2);
});

test("an agent that hangs is ended by the watchdog, and what it began is finished once (F16)", async () => {
  const { executable } = await buildUnderTest("faults");
  await using campaign = await Campaign.create("watchdog", executable, new Random(seed));
  expect(await campaign.freeze("trial.health")).toEqual({ agent: 1, web: 1, steady: 0 });
});
