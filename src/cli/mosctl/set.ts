// `mosctl set`: signed sets of files on the device.
import { buildCommand, buildRouteMap } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import type { InstalledSet } from "../../signed-sets/bring.ts";
import type { Ledger } from "../../signed-sets/ledger.ts";
import { levelName } from "../../signed-sets/level-name.ts";
import type { LeftAlone } from "../../signed-sets/levels.ts";
import { type CliContext, withExamples } from "../command.ts";
import { escapeControls, jsonText, keyValues, table } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import {
  activationOf,
  type KeyFlags,
  keyFlags,
  keysOf,
  levelDeviceOf,
  type PlaceFlags,
  placeFlags,
  placesOf,
  type RemoveFlags,
  unitsFlag,
  word,
} from "./set-flags.ts";

const outcomes: Readonly<Record<(InstalledSet | LeftAlone)["outcome"], string>> = {
  "left-alone": "Left alone: it is not for this device.",
  installed: "Installed.",
  repaired: "Installed already; what had changed since is as it was.",
  removed: "Removed.",
  unchanged: "Nothing to do.",
};

function show(stdout: OutputStream, done: InstalledSet | LeftAlone): string {
  const some = (paths: readonly string[]): string | undefined => {
    if (paths.length === 0) return undefined;
    const more = paths.length > 5 ? ` and ${paths.length - 5} more` : "";
    return `${paths.slice(0, 5).join(", ")}${more}`;
  };
  return `${outcomes[done.outcome]}\n\n${keyValues(stdout, [
    ["set", done.name],
    ["serial", String(done.serial)],
    ["destination", done.destination],
    ...(done.outcome === "left-alone"
      ? ([["for", done.level]] as const)
      : ([
          ["written", some(done.written)],
          ["removed", some(done.removed)],
        ] as const)),
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
has to run and stay so; else the set before comes back, and runs. Units that do not change are left alone.

A set that says for whom it is (mosb set sign --everybody, --class, --host) is one of several levels: it is kept, and what
all levels for this device come to is installed. One that is for other devices is left alone. Its key has to be in
/usr/lib/validator/keys or /etc/validator/keys, because it is verified again at every boot.`,
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
      const [{ withSetTree }, { installSet }, { readSignedSet }] = await Promise.all([
        import("../../signed-sets/open-source.ts"),
        import("../../signed-sets/install-set.ts"),
        import("../../signed-sets/read-set.ts"),
      ]);
      const places = placesOf(flags);
      const options = { force: flags.force === true, activation: await activationOf(flags) };
      const done = await withSetTree(source, keys, places.state, async (tree) => {
        const { manifest } = await readSignedSet(tree, keys);
        if (manifest.for === undefined) return await installSet(places, tree, keys, options);
        const { installLevel } = await import("../../signed-sets/levels.ts");
        return await installLevel(await levelDeviceOf(flags), tree, options);
      });
      stdout.write(flags.json ? jsonText(done) : show(stdout, done));
    },
  }),
  [
    ["mosctl set install /var/quadlets", "with the keys of /usr/lib/validator/keys and /etc/validator/keys"],
    ["mosctl set install --units /var/quadlets", "and its containers run, or those before"],
    ["mosctl set install --key fleet.pem quadlets-7.tar.gz", "an archive, whose signature is checked first"],
  ],
);

interface RemoveSetFlags extends RemoveFlags {
  readonly level?: string;
}

const remove = withExamples(
  buildCommand<RemoveSetFlags, [string], CliContext>({
    docs: {
      brief: "Remove what belongs to a signed set",
      fullDescription:
        "Removes the set's files, and its directories where nothing else is in them. Its serial stays known, so that an older release cannot come back. Of a set in levels, what a level has hidden comes back, and what the image brings stays.",
    },
    parameters: {
      flags: {
        level: {
          kind: "parsed",
          parse: word,
          brief: "Only this level, as mosctl set list shows it",
          placeholder: "LEVEL",
          optional: true,
        },
        units: unitsFlag,
        ...placeFlags,
      },
      positional: { kind: "tuple", parameters: [{ brief: "the set", placeholder: "NAME", parse: word }] },
    },
    async func(flags, name) {
      const { stdout } = this.terminal;
      const [{ removeSet }, { readLedgers }] = await Promise.all([
        import("../../signed-sets/install-set.ts"),
        import("../../signed-sets/ledger.ts"),
      ]);
      const [places, activation] = [placesOf(flags), await activationOf(flags)];
      const known = (await readLedgers(places.state)).find((ledger) => ledger.name === name);
      const isInLevels = flags.level !== undefined || known?.levels !== undefined;
      const inLevels = async (): Promise<InstalledSet> => {
        const { removeLevels } = await import("../../signed-sets/levels.ts");
        return await removeLevels(await levelDeviceOf(flags), name, flags.level, activation);
      };
      const done = await (isInLevels ? inLevels() : removeSet(places, name, activation));
      stdout.write(flags.json ? jsonText(done) : show(stdout, done));
    },
  }),
  [
    ["mosctl set remove quadlets", "its files go, and nothing else"],
    ["mosctl set remove --level class:kiosk network", "what the class kiosk has hidden is back"],
  ],
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
      const rows = sets.flatMap(({ name, serial, destination, entries, levels }) => {
        const whole = [
          name,
          levels === undefined ? String(serial) : "",
          destination,
          String(entries.length),
          "",
        ];
        return [whole, ...(levels ?? []).map(levelRow)];
      });
      const columns = ["SET", "SERIAL", "DESTINATION", "ENTRIES", "FROM"];
      const isAnyInLevels = sets.some(({ levels }) => levels !== undefined);
      const shown = isAnyInLevels ? 5 : 4;
      stdout.write(
        table(
          stdout,
          columns.slice(0, shown),
          rows.map((row) => row.slice(0, shown)),
        ),
      );
    },
  }),
  [["mosctl set list --json", "with every path, and which level it comes from"]],
);

/** A line about one level of the set above it. */
function levelRow({ for: audience, counts, kept, paths }: NonNullable<Ledger["levels"]>[number]): string[] {
  const from = { image: "the image", kept: "this device" } as const;
  const release = counts?.serial ?? kept?.serial;
  const where =
    counts === undefined ? (kept === undefined ? "removed" : "not for this device") : from[counts.source];
  return [
    `  ${levelName(audience)}`,
    release === undefined ? "" : String(release),
    "",
    String(paths.length),
    where,
  ];
}

const files = withExamples(
  buildCommand<PlaceFlags, [string], CliContext>({
    docs: {
      brief: "List the files of an installed set, and which level each comes from",
      fullDescription:
        "Levels are everybody, the device's classes, and the machine: docs/how-to/validator.md.",
    },
    parameters: {
      flags: placeFlags,
      positional: { kind: "tuple", parameters: [{ brief: "the set", placeholder: "NAME", parse: word }] },
    },
    async func(flags, name) {
      const { stdout } = this.terminal;
      const { listSets } = await import("../../signed-sets/install-set.ts");
      const set = (await listSets(placesOf(flags))).find((one) => one.name === name);
      if (set === undefined) {
        throw new MosError("set-conflict", `cannot list the files of set ${name}: it is not installed`, {
          about: name,
          hint: "mosctl set list shows what is installed.",
        });
      }
      const levels = new Map(
        (set.levels ?? []).flatMap((level) =>
          level.paths.map((path) => [path, levelName(level.for)] as const),
        ),
      );
      const all = set.entries
        .filter(({ type }) => type !== "directory")
        .map(({ path }) => ({ path: `${set.destination}/${path}`, level: levels.get(path) }));
      if (flags.json) return stdout.write(jsonText({ name, files: all }));
      stdout.write(
        table(
          stdout,
          ["FILE", "LEVEL"],
          all.map(({ path, level }) => [escapeControls(path), level ?? ""]),
        ),
      );
    },
  }),
  [["mosctl set files network", "each with its level"]],
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
  routes: { files, install, list, recover, remove },
});
