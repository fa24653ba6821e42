// `mosctl app`: apps on the device, each a signed bundle of quadlets, files and container images.
import { buildCommand, buildRouteMap } from "@stricli/core";
import type { AppDevice, ChangedApp, ListedApp } from "../../apps/apps.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, keyValues, table } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import { problemText } from "./problem.ts";
import { activationOf, type KeyFlags, keyFlags, keysOf, placesOf, word } from "./set-flags.ts";

const keptDirectory = "/var/lib/mos/apps";

async function deviceOf(flags: KeyFlags): Promise<AppDevice> {
  const { podmanImages } = await import("../../apps/image-store.ts");
  return {
    ...placesOf({}),
    apps: keptDirectory,
    images: podmanImages,
    keys: await keysOf(flags),
    activation: await activationOf({ units: true }),
  };
}

const outcomes: Readonly<Record<ChangedApp["outcome"], string>> = {
  installed: "Installed, and running.",
  repaired: "Installed already; what had changed since is as it was.",
  removed: "Removed. Volumes stay.",
  unchanged: "Nothing to do.",
};

function show(stdout: OutputStream, { outcome, name, version, serial, previous }: ChangedApp): string {
  return `${outcomes[outcome]}\n\n${keyValues(stdout, [
    ["app", version === undefined ? name : `${name} ${version}`],
    ["serial", String(serial)],
    ["goes back to", previous === undefined ? undefined : `serial ${previous}`],
  ])}`;
}

interface InstallFlags extends KeyFlags, JsonFlag {
  readonly force?: boolean;
}

const install = withExamples(
  buildCommand<InstallFlags, [string], CliContext>({
    docs: {
      brief: "Install a signed app, all of it or nothing, and start it",
      fullDescription: `Checks the bundle's signature before anything of it is read, then its list, that its files are exactly those of the
list, and that it is not older than what was installed. Then images go to podman, files to their place, systemd reads
its units anew, and what changed is started; it has to run and to stay so, or else the version before runs again. A power
cut at any point leaves the old version or the new one.

Of a directory, every bundle in it is installed, by name; that one is older than what runs is then no error. Archives
that were made for containers/validator (NAME6.tar.gz with var/quadlets and var/apps in it) are installed too.`,
    },
    parameters: {
      flags: {
        ...keyFlags,
        force: {
          kind: "boolean",
          brief: "Replace files that belong to no app",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [
          {
            brief: "a bundle, with its .sig beside it; or a directory of them",
            placeholder: "FILE",
            parse: word,
          },
        ],
      },
    },
    async func({ json, force = false, ...flags }, source) {
      const { stdout, stderr } = this.terminal;
      const { bundlesIn, installSource } = await import("../../apps/sources.ts");
      const device = await deviceOf(flags);
      const bundles = await bundlesIn(source);
      if (bundles === undefined) {
        const done = await installSource(device, source, { force, unattended: false });
        return stdout.write(json ? jsonText(done) : show(stdout, done));
      }
      const { installBundles } = await import("../../apps/sources.ts");
      const apps = await installBundles(device, bundles, force);
      for (const { bundle, error } of apps) {
        if (error === undefined) continue;
        this.outcome.exitCode = exitCodes.refused;
        if (!json) stderr.write(problemText(stderr, bundle, error));
      }
      if (json) return stdout.write(jsonText({ apps }));
      if (apps.length === 0) return stdout.write("Nothing to do.\n");
      const rows = apps.map(({ bundle, outcome, app }) => [
        bundle,
        outcome,
        app === undefined ? "" : `${app.name} ${app.version ?? ""}`,
      ]);
      stdout.write(table(stdout, ["BUNDLE", "OUTCOME", "APP"], rows));
    },
  }),
  [
    ["mosctl app install radio-7.tar.gz", "with the keys of /usr/lib/validator/keys and /etc/validator/keys"],
    ["mosctl app install --key fleet.pem radio-7.tar.gz", "with this key"],
    ["systemctl restart mos-apps", "all bundles of /var/lib/mos/bundles"],
  ],
);

const stateLooks = { active: "green", failed: "red" } as const;

function unitsCell({ units }: ListedApp): Cell {
  const states = [...new Set(units.map(({ state }) => state))];
  const [only = "active", ...others] = states;
  if (others.length > 0)
    return { text: units.map(({ unit, state }) => `${unit} ${state}`).join(", "), look: "red" };
  const look = only === "active" || only === "failed" ? stateLooks[only] : undefined;
  return look === undefined ? only : { text: only, look };
}

const list = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: { brief: "List apps, and whether they run" },
    parameters: { flags: { json: jsonFlag } },
    async func({ json }) {
      const { stdout } = this.terminal;
      const [{ listApps }, { systemd }, { podmanImages }] = await Promise.all([
        import("../../apps/apps.ts"),
        import("../../systemd/manager.ts"),
        import("../../apps/image-store.ts"),
      ]);
      const device = {
        ...placesOf({}),
        apps: keptDirectory,
        images: podmanImages,
        keys: [],
        activation: undefined,
      };
      const apps = await listApps(device, systemd);
      if (json) return stdout.write(jsonText({ apps }));
      if (apps.length === 0) return stdout.write("No app is installed.\n");
      const rows = apps.map((app): Cell[] => [
        app.name,
        app.version,
        String(app.serial),
        unitsCell(app),
        app.previous === undefined ? "" : (app.previous.version ?? `serial ${app.previous.serial}`),
      ]);
      stdout.write(table(stdout, ["APP", "VERSION", "SERIAL", "STATE", "BEFORE"], rows));
    },
  }),
  [["mosctl app list --json", "with every unit and image"]],
);

const nameParameter = {
  kind: "tuple",
  parameters: [{ brief: "the app", placeholder: "NAME", parse: word }],
} as const;

const remove = withExamples(
  buildCommand<JsonFlag, [string], CliContext>({
    docs: {
      brief: "Stop and remove an app",
      fullDescription:
        "Its files go, and images that no other app needs. Volumes stay. Its serial stays known, so that an older release cannot come back.",
    },
    parameters: { flags: { json: jsonFlag }, positional: nameParameter },
    async func({ json }, name) {
      const { stdout } = this.terminal;
      const { removeApp } = await import("../../apps/apps.ts");
      const done = await removeApp({ ...(await deviceOf({})), keys: [] }, name);
      stdout.write(json ? jsonText(done) : show(stdout, done));
    },
  }),
  [["mosctl app remove radio", "its volumes stay"]],
);

const rollback = withExamples(
  buildCommand<KeyFlags & JsonFlag, [string], CliContext>({
    docs: {
      brief: "Go back to the version of an app before this one",
      fullDescription:
        "The version that ran before the last installation is kept, and comes back as a new one would: verified, started and watched. The one that ran is kept instead; the same again goes forward. Needs no new signature; a bundle that is older than the newest that was installed is refused all the same.",
    },
    parameters: { flags: { ...keyFlags, json: jsonFlag }, positional: nameParameter },
    async func({ json, ...flags }, name) {
      const { stdout } = this.terminal;
      const { rollbackApp } = await import("../../apps/apps.ts");
      const done = await rollbackApp(await deviceOf(flags), name);
      stdout.write(json ? jsonText(done) : show(stdout, done));
    },
  }),
  [["mosctl app rollback radio", "mosctl app list shows to which version"]],
);

export const appCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "Install, list and remove signed apps" },
  routes: { install, list, remove, rollback },
});
