// Before every test of this lane: the probe is between mos and the disk, and the programs of the system are stand-ins.
import { vi } from "vitest";

vi.mock("../../src/system/durable.ts", async (original) => {
  const { probed } = await import("./probe.ts");
  return probed(await original());
});
vi.mock("../../src/system/process.ts", async (original) => {
  const { withPrograms } = await import("./programs.ts");
  return withPrograms(await original());
});
// Thousands of devices have a lot to tell.
vi.mock("../../src/agent/log.ts", () => {
  const quiet = (): void => undefined;
  return { log: { info: quiet, warn: quiet, error: quiet } };
});
