// Stands for the programs of the running system that an update asks: a systemd that starts whatever it is told to, a
// device mapper without a bad block. setup.ts puts it in the place of src/system/process.ts.
// What else is run (mksquashfs, veritysetup for the images of the test) is run.
import type * as processes from "../../src/system/process.ts";

type Processes = typeof processes;

let active = new Set<string>();

/** The machine starts again: nothing runs. */
export function powerOn(): void {
  active = new Set();
}

function propertyOf(property: string, unit: string): string {
  const isActive = active.has(unit);
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
