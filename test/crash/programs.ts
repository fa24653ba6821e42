// Stands for the programs of the running system that an update asks: a systemd that starts whatever it is told to, a
// device mapper without a bad block. setup.ts puts it in the place of src/system/process.ts.
// What else is run (mksquashfs, veritysetup for the images of the test) is run.
import { AsyncLocalStorage } from "node:async_hooks";
import type * as processes from "../../src/system/process.ts";

type Processes = typeof processes;

/** The active units of the machine that work is done on; several machines are at work at a time. */
const machines = new AsyncLocalStorage<Set<string>>();

function activeUnits(): Set<string> {
  const active = machines.getStore();
  if (active === undefined) throw new Error("systemd was asked, and no machine is on");
  return active;
}

/** Does work on a machine of its own. */
export async function onMachine<T>(work: () => Promise<T>): Promise<T> {
  return await machines.run(new Set(), work);
}

/** The machine starts again: nothing runs. */
export function powerOn(): void {
  activeUnits().clear();
}

function propertyOf(property: string, unit: string): string {
  const isActive = activeUnits().has(unit);
  const values: Readonly<Record<string, string>> = {
    Id: unit,
    LoadState: "loaded",
    ActiveState: isActive ? "active" : "inactive",
    SubState: isActive ? "running" : "dead",
    Result: "success",
    NRestarts: "0",
    ExecMainStatus: "0",
    // One that is not there: all of cgroups would be read for the payload of a service that has none.
    ControlGroup: "/there-is-none",
  };
  return `${property}=${values[property] ?? ""}`;
}

function systemctl(args: readonly string[]): string {
  const active = activeUnits();
  const separator = args.indexOf("--");
  const units = separator < 0 ? [] : args.slice(separator + 1);
  const [verb] = args;
  if (verb === "start" || verb === "restart") for (const unit of units) active.add(unit);
  if (verb === "stop") for (const unit of units) active.delete(unit);
  if (verb !== "show") return "";
  const properties = args.find((arg) => arg.startsWith("--property="))?.slice("--property=".length) ?? "Id";
  const blocks = units.map((unit) =>
    properties
      .split(",")
      .map((property) => propertyOf(property, unit))
      .join("\n"),
  );
  return `${blocks.join("\n\n")}\n`;
}

/** The module with these programs answered. */
export function withPrograms(real: Processes): Processes {
  return {
    ...real,
    run: async (program, args, options) => {
      const done = (stdout: string) => ({ exitCode: 0, stdout, stderr: "" });
      if (program === "systemctl") return done(systemctl(args));
      if (program === "dmsetup" || program === "journalctl") return done("");
      return await real.run(program, args, options);
    },
  };
}
