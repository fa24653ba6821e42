// `mosb set sign`.
import { buildCommand, buildRouteMap } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { parseOwner, parseSerial, required, signingKey, word } from "./set-flags.ts";

interface SignFlags extends JsonFlag {
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
validator sign --path-prefix=mos-set/v1 makes of the list, so a key that is elsewhere can sign validator blob's output.`,
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
        json: jsonFlag,
      },
      positional: { kind: "tuple", parameters: [{ brief: "the files", placeholder: "DIR", parse: word }] },
    },
    async func({ key: file, owner: [uid, gid] = [0, 0], json, archive, ...description }, tree) {
      const { stdout } = this.terminal;
      const [key, { makeSet }] = await Promise.all([
        signingKey(file),
        import("../../signed-sets/make-set.ts"),
      ]);
      const { name, serial, destination } = description;
      const { entries } = await makeSet(tree, { name, serial, destination, uid, gid }, key);
      if (archive !== undefined) {
        const { archiveSet } = await import("../../signed-sets/archive-set.ts");
        await archiveSet(tree, archive, key);
      }
      if (json)
        return stdout.write(jsonText({ name, serial, destination, entries: entries.length, archive }));
      stdout.write("Signed.\n\n");
      stdout.write(
        keyValues(stdout, [
          ["set", name],
          ["serial", String(serial)],
          ["destination", destination],
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
  ],
);

export const setCommands = buildRouteMap<string, CliContext>({
  docs: { brief: "Sign sets of files" },
  routes: { sign },
});
