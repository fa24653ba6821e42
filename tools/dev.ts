// The second half of ./dev, which has set this machine up and now runs on the pinned Node.
import { rm } from "node:fs/promises";
import { parseArgs } from "node:util";
import { buildExecutable, checkReproducible } from "./build.ts";
import { cacheDirectory } from "./cache.ts";
import { laneNames, runLanes } from "./lanes.ts";
import { buildPackage } from "./package.ts";

const help = `./dev COMMAND

  demo [--keep]       the whole way: keys, manifest, registry, device, service, reboot; --keep leaves a prompt
  test [LANE …]       all lanes, or some of: ${laneNames.join(", ")}
       [--skip LANE]  leaves one out, and says so
       [--cuts N] [--seed S]  how many power cuts the lane powercut makes (40), and the seed of their instants
  build               dist/mos and its names
  build --deb         and the Debian package of it
  build --faults      dist/faults/mos, which has fault points (MOS_FAULT, docs/testing.md); with --deb its package
  build --check       builds twice and compares the bytes
  bench [NAME …]      what mos costs, next to what others cost for the same work
  shell               a shell in a virtual machine that has the package installed
  clean-cache         deletes ${cacheDirectory}

Tests of one file, with node_modules/.bin first in PATH: vitest run test/unit/x.test.ts. More: docs/testing.md.
`;

/** The lane runs in a process of its own, which reads these. */
function setNumber(name: "cuts" | "seed", value: string | undefined): void {
  if (value === undefined) return;
  if (!/^[0-9]{1,9}$/.test(value)) throw new Error(`--${name} takes a number, not ${value}`);
  process.env[`MOS_POWERCUT_${name.toUpperCase()}`] = value;
}

async function main(command: string | undefined, args: string[]): Promise<boolean> {
  switch (command) {
    case "test": {
      const { positionals, values } = parseArgs({
        args,
        allowPositionals: true,
        options: {
          skip: { type: "string", multiple: true },
          cuts: { type: "string" },
          seed: { type: "string" },
        },
      });
      for (const name of ["cuts", "seed"] as const) setNumber(name, values[name]);
      const skip = values.skip ?? [];
      const unknown = [...positionals, ...skip].find((name) => !laneNames.some((lane) => lane === name));
      if (unknown !== undefined) throw new Error(`there is no lane ${unknown}: ${laneNames.join(", ")}`);
      const named = (names: readonly string[]) => laneNames.filter((lane) => names.includes(lane));
      return runLanes(named(positionals), named(skip));
    }
    case "build": {
      const { values } = parseArgs({
        args,
        options: { deb: { type: "boolean" }, check: { type: "boolean" }, faults: { type: "boolean" } },
      });
      const flavour = values.faults === true ? "faults" : "release";
      if (values.check === true) await checkReproducible();
      else if (values.deb === true) console.log((await buildPackage(flavour)).packageFile);
      else console.log(await buildExecutable(flavour));
      return true;
    }
    case "demo": {
      const { values } = parseArgs({ args, options: { keep: { type: "boolean" } } });
      return (await import("./demo.ts")).demo({ keep: values.keep === true });
    }
    case "bench": {
      const { positionals, values } = parseArgs({
        args,
        allowPositionals: true,
        options: { json: { type: "boolean" } },
      });
      return (await import("../bench/main.ts")).bench({ json: values.json === true, only: positionals });
    }
    case "shell":
      return (await import("./shell.ts")).shell();
    case "clean-cache":
      await rm(cacheDirectory, { recursive: true, force: true });
      return true;
    case undefined:
    case "help":
    case "--help":
      console.log(help);
      return true;
    default:
      throw new Error(`there is no command ${command}\n\n${help}`);
  }
}

try {
  const [command, ...args] = process.argv.slice(2);
  process.exitCode = (await main(command, args)) ? 0 : 1;
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
