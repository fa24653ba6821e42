// `mosb image build|check|schema`.
import { dirname, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import { formatBytes } from "../../system/quantity.ts";
import { keysetsDirectory } from "../../trust/keyset-files.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { startProgress } from "../progress.ts";

const word = (input: string): string => input;

const descriptionFile = {
  kind: "tuple",
  parameters: [{ brief: "the description", placeholder: "IMAGE.yaml", parse: word }],
} as const;

interface BuildFlags extends JsonFlag {
  readonly output?: string;
  readonly lock?: string;
  readonly updateLock?: boolean;
  readonly replace?: boolean;
  readonly qcow2?: boolean;
  readonly targets?: boolean;
}

/** SOURCE_DATE_EPOCH (reproducible-builds.org). */
function epochOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,11}$/.test(text) ? Number(text) : undefined;
}

export const imageBuild = withExamples(
  buildCommand<BuildFlags, [string], CliContext>({
    docs: {
      brief: "Build a bootable disk image",
      fullDescription: `Makes the host's root of Debian's packages or of a root that is there, checks that its PID 1 can start in it, puts mos
and the release of the services into it, and packs it as EROFS under dm-verity. A unified kernel image whose command
line names it by its hash is signed with the keyset; both go onto a disk with an EFI system partition and one for state.

The same inputs give the same bytes. They are written to a lock beside the description; a build from other inputs than
a lock says is refused. An SBOM (SPDX 2.3) is written beside the image. Needs root, and mmdebstrap, fdisk, erofs-utils,
cryptsetup-bin, dosfstools, mtools, e2fsprogs, systemd-ukify and systemd-boot-efi.`,
    },
    parameters: {
      flags: {
        output: {
          kind: "parsed",
          parse: word,
          brief: "Directory for what is made (default: beside the description)",
          placeholder: "DIR",
          optional: true,
        },
        lock: {
          kind: "parsed",
          parse: word,
          brief: "The lock (default: image.lock.json beside the description)",
          placeholder: "FILE",
          optional: true,
        },
        updateLock: {
          kind: "boolean",
          brief: "Take the inputs as they are, and write them to the lock",
          optional: true,
          withNegated: false,
        },
        qcow2: {
          kind: "boolean",
          brief: "Make the disk as qcow2 too (with qemu-img)",
          optional: true,
          withNegated: false,
        },
        targets: {
          kind: "boolean",
          brief: "Make hostfs and bootkit targets too, for devices that update to this system",
          optional: true,
          withNegated: false,
        },
        replace: {
          kind: "boolean",
          brief: "Write over what is there already",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: descriptionFile,
    },
    async func(flags, file) {
      const { stdout, env } = this.terminal;
      const { readImageDescription } = await import("../../image/description.ts");
      const { buildImage, buildSteps } = await import("../../image/build-image.ts");
      const description = await readImageDescription(file);
      const base = dirname(resolve(file));
      const progress = startProgress(this.terminal, {
        what: "building",
        unit: "items",
        json: flags.json === true,
      });
      let step = 0;
      let built: Awaited<ReturnType<typeof buildImage>>;
      try {
        built = await buildImage({
          description,
          baseDirectory: base,
          lockFile: flags.lock ?? resolve(base, "image.lock.json"),
          updateLock: flags.updateLock === true,
          keysets: keysetsDirectory(env),
          outputDirectory: flags.output ?? base,
          replace: flags.replace === true,
          qcow2: flags.qcow2 === true,
          targets: flags.targets === true,
          epoch: epochOf(env["SOURCE_DATE_EPOCH"]),
          onStep: (what) => progress.update(step++, buildSteps, what),
        });
      } finally {
        progress.stop();
      }
      if (flags.json) return stdout.write(jsonText(built));
      stdout.write(
        keyValues(stdout, [
          ["disk", `${built.raw}, ${formatBytes(built.diskBytes)} used`],
          ["digest", built.digest],
          ["qcow2", built.qcow2],
          ["installer", built.installer],
          ["kernel image", built.uki],
          ["targets", built.targets === undefined ? undefined : `oci:${built.targets}:hostfs, …:bootkit`],
          ["root", `${formatBytes(built.rootBytes)}, ${built.packages} packages`],
          ["root hash", built.rootHash],
          ["SBOM", built.sbom],
          ["lock", built.lock],
        ]),
      );
    },
  }),
  [
    ["mosb image build --output out image.yaml", "to out/NAME_RELEASE.raw, .efi and .spdx.json"],
    [
      "mosb image build --targets --output out image.yaml",
      "and out/NAME_RELEASE.oci, to update devices to it",
    ],
  ],
);

export const imageCheck = withExamples(
  buildCommand<JsonFlag, [string], CliContext>({
    docs: {
      brief: "Check a description without building",
      fullDescription: "Reports every problem of a description with its line and column.",
    },
    parameters: { flags: { json: jsonFlag }, positional: descriptionFile },
    async func(flags, file) {
      const { stdout } = this.terminal;
      const { readImageDescription } = await import("../../image/description.ts");
      const { name, release } = await readImageDescription(file);
      stdout.write(
        flags.json ? jsonText({ file, name, release }) : `${file} is sound: ${name} ${release}.\n`,
      );
    },
  }),
  [["mosb image check image.yaml", "all problems at once, with line and column"]],
);

export const imageSchema = buildCommand<JsonFlag, [], CliContext>({
  docs: { brief: "Print the JSON Schema of descriptions", fullDescription: "For editors and other tools." },
  parameters: { flags: { json: jsonFlag } },
  async func() {
    const { imageJsonSchema } = await import("../../image/json-schema.ts");
    this.terminal.stdout.write(jsonText(imageJsonSchema()));
  },
});
