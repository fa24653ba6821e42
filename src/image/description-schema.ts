// What a person writes to have an OS image built (image.yaml): where the host's root comes from, what is put into it,
// how it boots and who signs it, and what is on the disk. Paths are relative to the file.
import * as z from "zod";
import { lineSchema, nameSchema } from "../manifest/names.ts";

/** Of os-release(5), IMAGE_ID and IMAGE_VERSION, and of a file's name in an EFI system partition. */
const wordSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._~^-]{0,63}$/, "must be at most 64 of a-z 0-9 . _ ~ ^ -, a letter or digit first");

const sizeSchema = z
  .string()
  .regex(/^[1-9][0-9]{0,6}[MGT]$/, "must be a number with M, G or T")
  .transform((text) => Number(text.slice(0, -1)) * 1024 ** ({ M: 0, G: 1, T: 2 }[text.slice(-1)] ?? 0));

const pathSchema = z
  .string()
  .max(1024)
  .regex(/^(?:\/(?!\.{1,2}(?:\/|$))[^/\0\n]+)+$/, "must be an absolute path without . and ..");

const fileSchema = z
  .strictObject({
    path: pathSchema.describe("Where it goes in the root."),
    content: z
      .string()
      .max(1024 * 1024)
      .optional()
      .describe("Its text."),
    source: lineSchema(4096).optional().describe("Or the file that it is a copy of."),
    link: lineSchema(4096).optional().describe("Or what it is a symbolic link to."),
    mode: z
      .string()
      .regex(/^0[0-7]{3}$/, "must be an octal mode such as 0644")
      .default("0644")
      .describe("Permissions."),
  })
  .refine(
    ({ content, source, link }) => [content, source, link].filter((one) => one !== undefined).length === 1,
    "must have one of content, source and link",
  );

const packageSchema = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, "must be a package's name");

const debianSchema = z.strictObject({
  suite: nameSchema.default("trixie").describe("Release of Debian."),
  mirror: lineSchema(1024)
    .optional()
    .describe(
      "Where packages come from; a snapshot, to build what a lock says long after. Left out: the mirror of this machine's apt.",
    ),
  kernel: packageSchema
    .default("linux-image-cloud-amd64")
    .describe("Package of the kernel; the default is for virtual machines."),
  packages: z
    .array(packageSchema)
    .max(1024)
    .default([])
    .describe("Packages besides those that every device needs."),
});

const rootSchema = z
  .strictObject({
    debian: debianSchema.optional().describe("A root that mmdebstrap makes of Debian's packages."),
    source: z
      .string()
      .max(4096)
      .regex(
        /^(?:rootfs:|oci:|docker:\/\/)./,
        "must be rootfs:DIR, rootfs:FILE.tar, oci:DIR:TAG or docker://HOST/PATH:TAG",
      )
      .optional()
      .describe(
        "Or one that is there: `rootfs:DIR`, `rootfs:FILE.tar`, or an image with tar layers (`oci:DIR:TAG`, `docker://HOST/PATH:TAG`). With systemd, a kernel and dracut in it.",
      ),
    install: z
      .array(lineSchema(4096))
      .max(64)
      .default([])
      .describe("Debian packages (files) that are installed into it: mos itself, and others."),
    files: z.array(fileSchema).max(1024).default([]).describe("Files that are put into it."),
    remove: z
      .array(pathSchema)
      .max(256)
      .default([])
      .describe("Paths that are removed from it, with all below."),
    hostname: nameSchema.default("mos").describe("The host's name."),
    drivers: z
      .array(z.string().regex(/^[a-z0-9_-]+$/i, "must be a kernel module's name"))
      .max(256)
      .default([])
      .describe("Kernel modules that the initrd has besides."),
    layers: z
      .union([z.literal(1), z.literal(2)])
      .default(1)
      .describe(
        "Of how many layers the root is that `--targets` makes for the store of devices. `2`: the distribution's part (`debian`, `source`) is a layer of its own, which releases share as long as that does not change, so that an update fetches only what the description makes of it.",
      ),
    compression: z.enum(["lz4", "lz4hc"]).default("lz4hc").describe("Of the root: `lz4` is made faster."),
  })
  .refine(
    ({ debian, source }) => (debian === undefined) !== (source === undefined),
    "must have one of debian and source",
  );

const bootSchema = z.strictObject({
  keyset: nameSchema.describe(
    "Keyset (trust keyset add) whose key `uki-production` signs what the firmware starts.",
  ),
  command_line: z
    .string()
    .max(1024)
    .regex(/^[\x20-\x7e]*$/, "must be printable ASCII")
    .default("")
    .describe("What the kernel is told besides where its root is."),
  loader: z
    .enum(["systemd-boot", "none"])
    .default("systemd-boot")
    .describe("`none`: the firmware starts the kernel image itself, and tries are not counted."),
  loader_file: lineSchema(4096)
    .optional()
    .describe("systemd-boot, when neither the root nor the building machine has Debian's systemd-boot-efi."),
  tries: z
    .int()
    .min(1)
    .max(9)
    .default(3)
    .describe("How often a new image is started before it counts as bad; with systemd-boot."),
  splash: lineSchema(4096).optional().describe("Picture that is shown while it starts, as BMP."),
});

const trustSchema = z.strictObject({
  product: lineSchema(255).describe("Product of the device, usually the project's uuid."),
  policy: lineSchema(4096)
    .optional()
    .describe("Trust policy (JSON); by default the keyset's manifest CA in the initrd is the anchor."),
});

const diskSchema = z.strictObject({
  esp: sizeSchema.prefault("512M").describe("EFI system partition: two images have to fit."),
  state: sizeSchema.prefault("4G").describe("Partition for everything that is kept."),
  swap: sizeSchema
    .optional()
    .describe(
      "Swap partition; none when left out. Beside an encrypted state it is encrypted as well, with a key of each start.",
    ),
  encrypt: z
    .enum(["tpm2"])
    .optional()
    .describe(
      "State is encrypted at the first start, with a key that the device's TPM gives to systems of this keyset under Secure Boot only. The root has to have tpm2-tools and cryptsetup. Left out: it is not encrypted.",
    ),
});

const installerSchema = z.strictObject({
  disk: z
    .union([z.literal("auto"), pathSchema])
    .default("auto")
    .describe(
      "Disk that is installed onto: a path such as `/dev/nvme0n1`, or `auto`, the only one besides the medium.",
    ),
  wipe: z
    .boolean()
    .default(false)
    .describe(
      "Whether a disk that is not empty may be written over, and a TPM cleared that was provisioned before. It is on the signed command line.",
    ),
  provision: z
    .enum(["medium", "device"])
    .optional()
    .describe(
      "The installer provisions the machine's TPM, with an identity from another `medium` (a file system with the label MOS-IDENTITY, and `cert.pem` and `privkey.pem` of `trust sudi add` in it), or with one that the `device` makes itself and signs itself. Left out: it does not.",
    ),
});

export const imageDescriptionSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is").describe("Version of this format."),
  name: wordSchema.describe("Name of the image: in os-release, and of all files that are made."),
  release: wordSchema.describe("Its version."),
  root: rootSchema.describe("The host's root file system (hostfs)."),
  boot: bootSchema.describe("How it starts."),
  trust: trustSchema.describe("Whom the device trusts."),
  services: z
    .string()
    .max(4096)
    .regex(/^oci:./, "must be oci:DIR:TAG")
    .optional()
    .describe(
      "A published manifest, as `mosb manifest publish --dest` made it, that is applied at the first start, without a network.",
    ),
  installer: installerSchema
    .optional()
    .describe(
      "A second image is made, for a USB stick: it installs the first one onto a disk, unattended. The root has to have systemd-repart.",
    ),
  disk: diskSchema.prefault({}).describe("Partitions; sizes are numbers with M, G or T."),
});

export type ImageDescription = z.output<typeof imageDescriptionSchema>;
