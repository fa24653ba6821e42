// `mosctl volume`: what services keep, to look at and to copy from device to device.
import { open, rename, rm } from "node:fs/promises";
import { buildCommand, buildRouteMap, type Command } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, table } from "../output.ts";

const word = (input: string): string => input;

const label = {
  brief: "the volume, as mosctl volume list calls it",
  placeholder: "LABEL",
  // What a manifest allows (manifest/names.ts).
  parse: (input: string): string => {
    if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(input) && !input.includes("..")) return input;
    throw new SyntaxError("a volume's label has letters, digits, '_', '.' and '-' only");
  },
} as const;

const stopFlag = {
  kind: "boolean",
  brief: "Stop the services that use it, and start them again afterwards",
  optional: true,
  withNegated: false,
} as const;

function onlyRoot(doing: string, about: string): void {
  if (process.getuid?.() === 0) return;
  throw new MosError("permission-denied", `not permitted to ${doing} ${about}: only root is`, { about });
}

async function load() {
  return await Promise.all([import("../../agent/context.ts"), import("../../agent/volumes.ts")]);
}

const list: Command<CliContext> = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "List the volumes of this device",
      fullDescription:
        "What the current generation's services keep and share, and who of them runs. Root only.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      onlyRoot("list the volumes of", "this device");
      const [{ deviceContext }, { listVolumes }] = await load();
      const volumes = await listVolumes(deviceContext());
      if (flags.json) return stdout.write(jsonText({ volumes }));
      if (volumes.length === 0) return stdout.write("There are no volumes on this device.\n");
      const rows = volumes.map(({ space, services, ...volume }): Cell[] => [
        volume.label,
        volume.persistent ? "disk" : "memory",
        `${formatBytes(volume.size * 1024 * 1024)}${volume.enforced ? "" : " (not enforced)"}`,
        space === undefined ? "" : formatBytes(space.used),
        volume.nsgroup,
        services.map(({ name, isRunning }) => (isRunning ? name : `${name} (stopped)`)).join(", "),
      ]);
      stdout.write(table(stdout, ["VOLUME", "ON", "SIZE", "USED", "NSGROUP", "SERVICES"], rows));
    },
  }),
  [["mosctl volume list", "for people"]],
);

interface ExportFlags {
  readonly output?: string;
  readonly stop?: boolean;
  readonly live?: boolean;
}

const exportCommand = withExamples(
  buildCommand<ExportFlags, [string], CliContext>({
    docs: {
      brief: "Write what is in a volume as a tar archive",
      fullDescription: `With the owners that services see, so that it can be imported on any device. While a service that uses the volume runs
this is refused: --stop stops it meanwhile, --live takes the files as they are, which may not fit together. Root only.`,
    },
    parameters: {
      flags: {
        output: {
          kind: "parsed",
          parse: word,
          brief: "File to write, readable by root only; standard output when left out",
          placeholder: "FILE",
          optional: true,
        },
        stop: stopFlag,
        live: {
          kind: "boolean",
          brief: "Do it while services run that use the volume",
          optional: true,
          withNegated: false,
        },
      },
      aliases: { o: "output" },
      positional: { kind: "tuple", parameters: [label] },
    },
    async func({ output, stop = false, live = false }, volume) {
      onlyRoot("export", volume);
      const [{ deviceContext }, { exportVolume }] = await load();
      if (output === undefined) {
        if (process.stdout.isTTY)
          throw new MosError(
            "usage",
            "an archive is nothing for a terminal: say --output FILE, or send it on",
          );
        return await exportVolume(deviceContext(), volume, { stop, live }, process.stdout);
      }
      const unfinished = `${output}.new`;
      const file = await open(unfinished, "w", 0o600);
      try {
        const stream = file.createWriteStream({ autoClose: false });
        await exportVolume(deviceContext(), volume, { stop, live }, stream);
        await new Promise<void>((resolve) => void stream.end(resolve));
        await file.sync();
        await rename(unfinished, output);
      } catch (error) {
        await rm(unfinished, { force: true });
        throw error;
      } finally {
        await file.close();
      }
    },
  }),
  [
    ["mosctl volume export --stop -o data.tar data", "a copy of which all parts fit together"],
    ["mosctl volume export --live data | ssh backup 'cat > data.tar'", "while the service runs"],
  ],
);

interface ImportFlags {
  readonly input?: string;
  readonly stop?: boolean;
}

const importCommand = withExamples(
  buildCommand<ImportFlags, [string], CliContext>({
    docs: {
      brief: "Put a tar archive into a volume, instead of what is there",
      fullDescription: `What mosctl volume export wrote, or any plain tar archive. What is in the volume is replaced when all of the archive
has been written, so there has to be room for both. Refused while a service that uses the volume runs; --stop stops it
meanwhile. Root only.`,
    },
    parameters: {
      flags: {
        input: {
          kind: "parsed",
          parse: word,
          brief: "File to read; standard input when left out",
          placeholder: "FILE",
          optional: true,
        },
        stop: stopFlag,
      },
      aliases: { i: "input" },
      positional: { kind: "tuple", parameters: [label] },
    },
    async func({ input, stop = false }, volume) {
      onlyRoot("import", volume);
      const [{ deviceContext }, { importVolume }] = await load();
      if (input === undefined) return await importVolume(deviceContext(), volume, stop, process.stdin);
      await using file = await open(input, "r");
      await importVolume(deviceContext(), volume, stop, file.createReadStream({ autoClose: false }));
    },
  }),
  [
    ["mosctl volume import --stop -i data.tar data", "the services that use it are down meanwhile"],
    ["ssh old mosctl volume export --stop data | mosctl volume import --stop data", "from device to device"],
  ],
);

export const volumeCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "List, export and import volumes" },
  routes: { export: exportCommand, import: importCommand, list },
});
