// The one executable. Finds the name it was called by and loads that CLI, and nothing else: a name that is not
// asked for costs nothing, and --version not even its own CLI.
import { calledAs } from "./cli/called-as.ts";
import type { runCli } from "./cli/frame.ts";
import { mosVersion } from "./system/version.ts";

interface Program {
  /** For the overview; undefined for a second name of the same program. */
  readonly brief?: string;
  readonly run: (args: readonly string[]) => Promise<void>;
}

/** A program with commands, whose module is loaded when it is called. */
function cli(load: () => Promise<{ readonly app: Parameters<typeof runCli>[0] }>): Program["run"] {
  return async (args) => {
    const [frame, { app }] = await Promise.all([import("./cli/frame.ts"), load()]);
    await frame.runCli(app, args);
  };
}

const trust = cli(() => import("./cli/trust/app.ts"));

const programs = {
  mosctl: { brief: "look at a device and update it", run: cli(() => import("./cli/mosctl/app.ts")) },
  mosd: {
    brief: "the agent; systemd starts it",
    run: async (args) => {
      if (args.length === 1 && args[0] === "--stage=initrd")
        return await (await import("./agent/initrd-stage.ts")).main();
      if (args.length === 1 && args[0] === "--stage=initrd-files")
        return await (await import("./agent/files-stage.ts")).initrdMain();
      if (args.length === 1 && args[0] === "--stage=sets")
        return await (await import("./agent/files-stage.ts")).setsMain();
      if (args.length === 1 && args[0] === "--stage=files")
        return await (await import("./agent/files-stage.ts")).runningMain();
      return await (await import("./agent/daemon.ts")).main(args);
    },
  },
  mosb: { brief: "build and publish signed manifests", run: cli(() => import("./cli/mosb/app.ts")) },
  trust: { brief: "keysets and projects: who may sign manifests", run: trust },
  validator: {
    brief: "sign, validate and install single files, as containers/validator does",
    run: async (args) => {
      const [, called = "validator"] = process.argv;
      const isOwnName = called.slice(called.lastIndexOf("/") + 1) === "validator";
      const { main: validator } = await import("./cli/validator/validator.ts");
      process.exitCode = await validator(args, isOwnName ? called : "mos validator");
    },
  },
  // Where p11-kit's own program `trust` comes first in PATH.
  "mos-trust": { run: trust },
} satisfies Record<string, Program>;

function isName(name: string): name is keyof typeof programs {
  return Object.hasOwn(programs, name);
}

const names = Object.keys(programs).filter(isName);

function overview(): string {
  const all: readonly [string, Program][] = Object.entries(programs);
  const lines = all.flatMap(([name, { brief }]) =>
    brief === undefined ? [] : [`  mos ${name.padEnd(9)} ${brief}`],
  );
  return `USAGE\n  mos NAME COMMAND …\n  mos --version\n\nNAMES\n${lines.join("\n")}\n\nEach name is also a command of its own. mos NAME --help says more.\n`;
}

async function main(): Promise<void> {
  const wantedFaults = process.env["MOS_FAULT"];
  if (wantedFaults !== undefined) {
    const { refuseFaults } = await import("./cli/fault-request.ts");
    if (await refuseFaults(wantedFaults)) return;
  }
  const { name, args } = calledAs(process.argv, names);
  const [first] = args;
  // validator answers as the one it stands in for.
  if (first === "--version" && name !== "validator") {
    process.stdout.write(`${name ?? "mos"} ${mosVersion()}\n`);
  } else if (name !== undefined) {
    await programs[name].run(args);
  } else if (first === undefined || first === "--help" || first === "-h") {
    process.stdout.write(overview());
  } else {
    process.stderr.write(`error: there is no mos ${JSON.stringify(first)}\n\n${overview()}`);
    process.exitCode = 2;
  }
}

void main();
