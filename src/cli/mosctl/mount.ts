// `mosctl mount` and `mosctl create-boot-fs`: a target of the generation that runs, at a path.
import { join, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import type { Mounted } from "../../agent/mount-target.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";

const word = (input: string): string => input;

interface MountFlags extends JsonFlag {
  readonly dest?: string;
  readonly root?: string;
  readonly readonly?: boolean;
}

interface TargetFlags extends MountFlags {
  readonly target?: string;
}

async function mount({ root, readonly }: MountFlags, target: string, destination: string): Promise<Mounted> {
  const [{ deviceContext }, { mountTarget }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/mount-target.ts"),
  ]);
  const context = deviceContext();
  const state = join(resolve(root ?? "/"), context.places.state);
  return await mountTarget(
    { ...context, places: { ...context.places, state } },
    { target, destination: resolve(destination), readOnly: readonly === true },
  );
}

function show({ terminal: { stdout } }: CliContext, { json }: JsonFlag, mounted: Mounted): void {
  if (json) {
    stdout.write(jsonText(mounted));
    return;
  }
  const { target, version, destination, readOnly, generation, layers } = mounted;
  stdout.write(
    keyValues(stdout, [
      ["mounted", `${target} ${version} of generation ${generation}`],
      ["at", `${destination}${readOnly ? ", read-only" : ", what is written is kept in memory"}`],
      ["layers", layers.join(", ")],
    ]),
  );
}

const flags = {
  readonly: {
    kind: "boolean",
    brief: "Nothing can be written to it",
    optional: true,
    withNegated: false,
  },
  root: {
    kind: "parsed",
    parse: word,
    brief: "Where the file system with the state is mounted (default: /)",
    placeholder: "DIR",
    optional: true,
  },
  json: jsonFlag,
} as const;

export const mountCommand = withExamples(
  buildCommand<TargetFlags, [], CliContext>({
    docs: {
      brief: "Mount a target of the generation that runs",
      fullDescription: `The generation is verified, and the target's layers are opened under dm-verity by their signed root hashes. Without
--readonly what is written goes to memory, and is gone with the mount. umount DIR ends it.`,
    },
    parameters: {
      flags: {
        target: {
          kind: "parsed",
          parse: word,
          brief: "Name of the target (default: hostfs)",
          placeholder: "NAME",
          optional: true,
        },
        dest: {
          kind: "parsed",
          parse: word,
          brief: "Where to mount it (default: /mnt/mos/NAME)",
          placeholder: "DIR",
          optional: true,
        },
        ...flags,
      },
    },
    async func(given) {
      const target = given.target ?? "hostfs";
      const destination = given.dest ?? join(resolve(given.root ?? "/"), "mnt/mos", target);
      show(this, given, await mount(given, target, destination));
    },
  }),
  [
    ["mosctl mount --target web --readonly --dest /mnt/web", "what a service's root has"],
    ["mosctl mount", "the host's root, at /mnt/mos/hostfs"],
  ],
);

export const createBootFsCommand = withExamples(
  buildCommand<MountFlags, [], CliContext>({
    docs: {
      brief: "Mount the host's root of the generation that runs, to start from it",
      fullDescription: `For an initrd that has mosctl: mounts the target hostfs at /sysroot. The initrd that mosb image build makes does not need
it: there the signed command line names the root.`,
    },
    parameters: {
      flags: {
        dest: {
          kind: "parsed",
          parse: word,
          brief: "Where to mount it (default: /sysroot)",
          placeholder: "DIR",
          optional: true,
        },
        ...flags,
      },
    },
    async func(given) {
      show(this, given, await mount(given, "hostfs", given.dest ?? "/sysroot"));
    },
  }),
  [
    [
      "mosctl create-boot-fs --root /run/state --dest /sysroot",
      "from a file system that is mounted elsewhere",
    ],
  ],
);
