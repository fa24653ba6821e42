// `mosctl set`: signed sets of files on the device.
import { buildCommand, buildRouteMap } from "@stricli/core";
import type { InstalledSet } from "../../signed-sets/bring.ts";
import { type CliContext, withExamples } from "../command.ts";
import { escapeControls, jsonText, keyValues, table } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import {
  activationOf,
  type KeyFlags,
  keyFlags,
  keysOf,
  type PlaceFlags,
  placeFlags,
  placesOf,
  type RemoveFlags,
  unitsFlag,
  word,
} from "./set-flags.ts";

const outcomes: Readonly<Record<InstalledSet["outcome"], string>> = {
  installed: "Installed.",
  repaired: "Installed already; what had changed since is as it was.",
  removed: "Removed.",
  unchanged: "Nothing to do.",
};

function show(stdout: OutputStream, done: InstalledSet): string {
  const some = (paths: readonly string[]): string | undefined => {
    if (paths.length === 0) return undefined;
    const more = paths.length > 5 ? ` and ${paths.length - 5} more` : "";
    return `${paths.slice(0, 5).join(", ")}${more}`;
  };
  return `${outcomes[done.outcome]}\n\n${keyValues(stdout, [
    ["set", done.name],
    ["serial", String(done.serial)],
    ["destination", done.destination],
    ["written", some(done.written)],
    ["removed", some(done.removed)],
  ])}`;
}

interface InstallFlags extends PlaceFlags, KeyFlags {
  readonly force?: boolean;
  readonly units?: boolean;
}

const install = withExamples(
  buildCommand<InstallFlags, [string], CliContext>({
    docs: {
      brief: "Install a signed set, all of it or nothing",
      fullDescription: `Checks the signature of the set's list, that the files are exactly those of the list, and that it is no older than
what was installed; then puts every file in its place and removes what the list has no longer. A power cut in the
middle is mended by the next of these commands, at the latest mosctl set recover.

With --units, what the set has of systemd's units and of quadlets is stopped, reloaded and started along with it, and
has to run and stay so; else the set before comes back, and runs. Units that do not change are left alone.`,
    },
    parameters: {
      flags: {
        ...keyFlags,
        force: {
          kind: "boolean",
          brief: "Replace files that belong to no set",
          optional: true,
          withNegated: false,
        },
        units: unitsFlag,
        ...placeFlags,
      },
      positional: {
        kind: "tuple",
        parameters: [
          {
            brief: "directory of the set, or an archive of it with its .sig",
            placeholder: "SET",
            parse: word,
          },
        ],
      },
    },
    async func(flags, source) {
      const { stdout } = this.terminal;
      const keys = await keysOf(flags);
      const [{ withSetTree }, { installSet }] = await Promise.all([
        import("../../signed-sets/open-source.ts"),
        import("../../signed-sets/install-set.ts"),
      ]);
      const places = placesOf(flags);
      const activation = await activationOf(flags);
      const done = await withSetTree(source, keys, places.state, (tree) =>
        installSet(places, tree, keys, { force: flags.force === true, activation }),
      );
      stdout.write(flags.json ? jsonText(done) : show(stdout, done));
    },
  }),
  [
    ["mosctl set install /var/quadlets", "with the keys of /usr/lib/validator/keys and /etc/validator/keys"],
    ["mosctl set install --units /var/quadlets", "and its containers run, or those before"],
    ["mosctl set install --key fleet.pem quadlets-7.tar.gz", "an archive, whose signature is checked first"],
  ],
);

const remove = withExamples(
  buildCommand<RemoveFlags, [string], CliContext>({
    docs: {
      brief: "Remove what belongs to a signed set",
      fullDescription:
        "Removes the set's files, and its directories where nothing else is in them. Its serial stays known, so that an older release cannot come back.",
    },
    parameters: {
      flags: { units: unitsFlag, ...placeFlags },
      positional: { kind: "tuple", parameters: [{ brief: "the set", placeholder: "NAME", parse: word }] },
    },
    async func(flags, name) {
      const { stdout } = this.terminal;
      const { removeSet } = await import("../../signed-sets/install-set.ts");
      const done = await removeSet(placesOf(flags), name, await activationOf(flags));
      stdout.write(flags.json ? jsonText(done) : show(stdout, done));
    },
  }),
  [["mosctl set remove quadlets", "its files go, and nothing else"]],
);

const list = withExamples(
  buildCommand<PlaceFlags, [], CliContext>({
    docs: { brief: "List the signed sets that are installed" },
    parameters: { flags: placeFlags },
    async func(flags) {
      const { stdout } = this.terminal;
      const { listSets } = await import("../../signed-sets/install-set.ts");
      const sets = await listSets(placesOf(flags));
      if (flags.json) return stdout.write(jsonText({ sets }));
      if (sets.length === 0) return stdout.write("No signed set is installed.\n");
      const rows = sets.map(({ name, serial, destination, entries }) => [
        name,
        String(serial),
        destination,
        String(entries.length),
      ]);
      stdout.write(table(stdout, ["SET", "SERIAL", "DESTINATION", "ENTRIES"], rows));
    },
  }),
  [["mosctl set list --json", "with every path"]],
);

const recover = withExamples(
  buildCommand<PlaceFlags, [], CliContext>({
    docs: {
      brief: "Finish what a power cut interrupted",
      fullDescription:
        "Goes on with an installation or removal that was interrupted, or takes it back where it cannot go on.",
    },
    parameters: { flags: placeFlags },
    async func(flags) {
      const { stdout } = this.terminal;
      const { recoverSets } = await import("../../signed-sets/install-set.ts");
      const sets = await recoverSets(placesOf(flags));
      if (flags.json) return stdout.write(jsonText({ sets }));
      stdout.write(
        sets.length === 0 ? "Nothing to do.\n" : `Finished: ${sets.map(escapeControls).join(", ")}\n`,
      );
    },
  }),
  [["mosctl set recover", "at boot, before what is installed is used"]],
);

export const setCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "Install and remove signed sets of files" },
  routes: { install, list, recover, remove },
});
