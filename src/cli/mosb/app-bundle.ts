// `mosb app build`.
import { buildCommand, buildRouteMap } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { parseOwner, parseSerial, required, signingKey, word } from "./set-flags.ts";

interface BuildFlags extends JsonFlag {
  readonly key: string;
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  readonly image?: readonly (readonly [name: string, source: string])[];
  readonly destination?: string;
  readonly owner?: readonly [uid: number, gid: number];
  readonly output?: string;
}

/** NAME=SOURCE: an image's name has no `=`. */
function parseImage(input: string): readonly [string, string] {
  const [, name, source] = /^([^=]+)=(.+)$/s.exec(input) ?? [];
  if (name === undefined || source === undefined) throw new SyntaxError("an image is NAME=SOURCE");
  return [name, source];
}

const build = withExamples(
  buildCommand<BuildFlags, [string], CliContext>({
    docs: {
      brief: "Make the bundle of an app: quadlets, files and container images, signed",
      fullDescription: `Writes NAME-SERIAL.tar.gz and its signature. In it are the directory's quadlets and files, a signed list of them (as
mosb set sign makes one), and every image that the quadlets name. In the bundle they name images by id, so that a device
starts what was signed, whatever a registry has today. Devices take it with mosctl app install. Needs skopeo and tar.`,
    },
    parameters: {
      flags: {
        key: required("Private key (Ed25519, PEM)", "FILE", word),
        name: required("Name of the app, the same for all its releases", "NAME", word),
        version: required("What people call this release", "VERSION", word),
        serial: required("Number of the release, higher than that of every one before", "N", parseSerial),
        image: {
          ...required(
            "An image as quadlets name it, and where it is now, as skopeo(1) has it",
            "NAME=SOURCE",
            parseImage,
          ),
          optional: true,
          variadic: true,
        },
        destination: {
          ...required("Directory on the device; default /run/containers/systemd/NAME", "DIR", word),
          optional: true,
        },
        owner: { ...required("Who owns everything; default 0:0", "UID:GID", parseOwner), optional: true },
        output: {
          ...required("The bundle; default NAME-SERIAL.tar.gz here", "FILE.tar.gz", word),
          optional: true,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "quadlets and files", placeholder: "DIR", parse: word }],
      },
    },
    async func(
      { key: file, json, output, destination, owner: [uid, gid] = [0, 0], image = [], ...flags },
      directory,
    ) {
      const { stdout } = this.terminal;
      const [key, { buildApp }] = await Promise.all([signingKey(file), import("../../apps/build-app.ts")]);
      const { name, version, serial } = flags;
      const archive = output ?? `${name}-${serial}.tar.gz`;
      const description = {
        ...{ name, version, serial },
        destination: destination ?? `/run/containers/systemd/${name}`,
        ...{ uid, gid },
        images: image.map(([as, source]) => ({ name: as, source })),
      };
      const { app, entries } = await buildApp(directory, archive, description, key);
      const images = app?.images ?? [];
      if (json)
        return stdout.write(
          jsonText({
            ...{ name, version, serial, archive },
            ...{ destination: description.destination, entries: entries.length, images },
          }),
        );
      stdout.write("Made and signed.\n\n");
      stdout.write(
        keyValues(stdout, [
          ["app", `${name} ${version}`],
          ["serial", String(serial)],
          ["destination", description.destination],
          ["entries", String(entries.length)],
          ...images.map((one): [string, string] => ["image", `${one.name} (${one.id.slice(0, 12)})`]),
          ["bundle", archive],
          ["signature", `${archive}.sig`],
        ]),
      );
    },
  }),
  [
    [
      "mosb app build --key secret.pem --name radio --version 1.2 --serial 7 --image localhost/radio:1.2=containers-storage:localhost/radio:1.2 radio/",
      "release 7, with the image as podman has built it",
    ],
    [
      "mosb app build --key secret.pem --name web --version 1 --serial 1 --image docker.io/library/nginx:1=oci:nginx:1 web/",
      "with an image of an OCI layout",
    ],
  ],
);

export const appCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "Make bundles of apps" },
  routes: { build },
});
