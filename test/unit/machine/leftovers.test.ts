// What a killed run left behind, removed by two runs that begin in the same instant.
import { expect, it } from "vitest";
import { ownedName, sweep } from "../../../src/machine/leftovers.ts";

/** No process has it: it is above the kernel's limit (proc_sys_kernel(5), pid_max). */
const nobody = 2 ** 22 + 1;

it("removes what belongs to nobody, and leaves what another run removes already", async () => {
  const names = [`mos-machine-${nobody}-a`, `mos-machine-${nobody}-b`, ownedName("c"), "somebody-else"];
  const removed: string[] = [];
  await sweep(names, async (name) => {
    removed.push(name);
    if (name.endsWith("-a")) throw new Error("it is gone");
  });
  expect(removed).toEqual(names.slice(0, 2));
});
