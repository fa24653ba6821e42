// `mosb set sign`.
import { buildCommand, buildRouteMap } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import {
  type AudienceFlags,
  audienceFlags,
  audienceOf,
  parseOwner,
  parseSerial,
  required,
  signingKey,
  word,
} from "./set-flags.ts";

interface SignFlags extends JsonFlag, AudienceFlags {
  readonly key: string;
  readonly name: string;
  readonly serial: number;
  readonly destination: string;
  readonly archive?: string;
  readonly owner?: readonly [uid: number, gid: number];
}

const sign = withExamples(
  buildCommand<SignFlags, [string], CliContext>({
    docs: {
      brief: "Sign a directory as one set of files",
      fullDescription: `Writes two files into the directory: .mos-set.json, the list of everything in it with type, mode, owner, digest
and destination, and .mos-set.json.sig. Devices install the set whole (mosctl set install), and none with a lower serial
than they had. Links lead to something in the set. The key is Ed25519, as validator's are; the signature is what
validator sign --path-prefix=mos-set/v1 makes of the list, so a key that is elsewhere can sign validator blob's output.

Sets of one name can be levels of one configuration: for --everybody, for a --class of devices, for one --host. A device
merges those that are for it, in this order, its classes as its policy lists them; of a file that several have, it is the
last one's.`,
    },
    parameters: {
      flags: {
        key: required("Private key (Ed25519, PEM)", "FILE", word),
        name: required("Name of the set, the same for all its releases", "NAME", word),
        serial: required("Number of the release, higher than that of every one before", "N", parseSerial),
        destination: required("Directory on the device that the paths are below", "DIR", word),
        owner: { ...required("Who owns everything; default 0:0", "UID:GID", parseOwner), optional: true },
        archive: {
          ...required("Write the set as one file too, with its own signature beside it", "FILE.tar.gz", word),
          optional: true,
        },
        ...audienceFlags,
        json: jsonFlag,
      },
      positional: { kind: "tuple", parameters: [{ brief: "the files", placeholder: "DIR", parse: word }] },
    },
    async func(flags, tree) {
      const { key: file, owner: [uid, gid] = [0, 0], json, archive, name, serial, destination } = flags;
      const { stdout } = this.terminal;
      const [key, { makeSet }, { levelName }] = await Promise.all([
        signingKey(file),
        import("../../signed-sets/make-set.ts"),
        import("../../signed-sets/level-name.ts"),
      ]);
      const audience = audienceOf(flags);
      const level = audience === undefined ? {} : { for: audience };
      const { entries } = await makeSet(tree, { name, serial, destination, ...level, uid, gid }, key);
      if (archive !== undefined) {
        const { archiveSet } = await import("../../signed-sets/archive-set.ts");
        await archiveSet(tree, archive, key);
      }
      if (json)
        return stdout.write(
          jsonText({ name, serial, destination, ...level, entries: entries.length, archive }),
        );
      stdout.write("Signed.\n\n");
      stdout.write(
        keyValues(stdout, [
          ["set", name],
          ["serial", String(serial)],
          ["destination", destination],
          ["for", audience === undefined ? undefined : levelName(audience)],
          ["entries", String(entries.length)],
          ["archive", archive],
        ]),
      );
    },
  }),
  [
    [
      "mosb set sign --key secret.pem --name quadlets --serial 7 --destination /etc/containers/systemd quadlets/",
      "release 7 of a set of quadlets",
    ],
    [
      "mosb set sign --key secret.pem --name network --serial 3 --destination /etc/systemd/network --class kiosk kiosk/",
      "what kiosks have besides what everybody has, or instead of it",
    ],
    [
      "mosb set sign --key secret.pem --name network --serial 1 --destination /etc/systemd/network --host 0a1b desk/",
      "and what one machine has",
    ],
  ],
);

export const setCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "Sign sets of files" },
  routes: { sign },
});
