// The one schema of the manifest, in its two forms: the YAML that a person writes (ImportManifest) and the
// install.json that is signed and that devices read (InstallManifest). Field names are those of the published
// format; unknown keys are errors. What concerns several fields at once is in rules.ts.
import * as z from "zod";
import { type Digest, isDigest } from "../oci/digest.ts";
import { parseCidr } from "./address.ts";
import { base64Schema, fingerprintSchema } from "./binary.ts";
import {
  importGateSchema,
  importHealthSchema,
  installGateSchema,
  installHealthSchema,
} from "./health-schema.ts";
import { containerPathSchema, lineSchema, nameSchema, reservedLabels } from "./names.ts";
import { automaticIpv6 } from "./networks.ts";
import { mebibytesSchema, sizeSchema } from "./quantity-schema.ts";
import { importSecretsSchema, installSecretsSchema } from "./secret-schema.ts";
import { importServiceFields, installServiceFields, networkFields, portFields } from "./service-schema.ts";

const digestSchema = z.custom<Digest>(isDigest, "must be sha256: and 64 lower-case hex digits");
/** Size of an OCI manifest, bytes. */
const manifestSizeSchema = z
  .int()
  .min(1)
  .max(4 * 1024 * 1024);
const portSchema = z
  .int("must be a whole number")
  .min(1, "must be 1 to 65535")
  .max(65535, "must be 1 to 65535");

/** @param word may be there instead of an address */
function addressSchema(family: 4 | 6, word = ""): z.ZodType<string> {
  const example = family === 4 ? "10.0.3.99/24" : "fd00:3::99/64";
  return z
    .string()
    .refine(
      (text) => text === "" || text === word || parseCidr(text, family) !== undefined,
      `must be an IPv${family} address with prefix, such as ${example}${word === "" ? "" : `, or ${word}`}`,
    );
}

const portMappingSchema = z.strictObject({
  host: portSchema.describe("Port on the device."),
  container: portSchema.describe("Port that the service listens on."),
  ...portFields,
});
const mountSchema = z.strictObject({
  dest: containerPathSchema.describe("Absolute path in the container."),
  label: nameSchema.describe("Label of a volume under the manifest's own `storage`."),
  read_only: z.boolean().optional().describe("true: the service cannot write to it."),
});
const groupSchema = z.union([z.literal(""), nameSchema]);
const serviceTypeSchema = z.enum(["container", "fs-only", "hostfs"]);
const networkTypeSchema = z.enum(["host", "none", "simple"]);
const labelSchema = nameSchema.refine(
  (label) => !reservedLabels.has(label),
  "is reserved for a system partition",
);

const serialSchema = z.int("must be a whole number").min(1, "must be at least 1");
const epochSchema = z
  .int("must be a whole number")
  .min(0, "must not be negative")
  .max(2 ** 31 - 1, "must be below 2147483648");
const timeSchema = z.iso.datetime("must be a time in UTC, such as 2027-01-31T00:00:00Z");
const rolloutSchema = z.strictObject({
  percent: z
    .int("must be a whole number")
    .min(0, "must be 0 to 100")
    .max(100, "must be 0 to 100")
    .describe(
      "The share of all devices that take it. Published again with a larger one, the same devices and more do.",
    ),
  from: timeSchema.optional().describe("Before this time (UTC) none does."),
  over: z
    .int("must be a whole number")
    .min(1, "must be at least 1")
    .max(8760, "must be at most 8760")
    .optional()
    .describe("Hours after `from` in which the share grows to 100 by itself."),
});
const ipv6Schema = addressSchema(6, automaticIpv6);

/** As many as a PEM file of anchors may hold. */
const maxAnchors = 8;
/** Bytes of DER. */
const maxCertificateSize = 12 * 1024;
const maxRevoked = 256;

// ---- install.json: every key is there, as the published encoder writes them -------------------------------

const installTargetSchema = z.strictObject({
  service_name: nameSchema,
  version: lineSchema(128),
  service_type: serviceTypeSchema,
  network: z.strictObject({
    type: networkTypeSchema,
    ipv4: addressSchema(4),
    ipv6: ipv6Schema,
    ports: z
      .array(portMappingSchema)
      .max(256)
      .nullish()
      .transform((ports) => ports ?? []),
    ...networkFields,
  }),
  nsgroup: groupSchema,
  digest: digestSchema,
  storage: z
    .array(mountSchema)
    .max(64)
    .nullish()
    .transform((mounts) => mounts ?? []),
  size: manifestSizeSchema,
  secrets: installSecretsSchema,
  health: installHealthSchema.optional(),
  ...installServiceFields,
});

const installVolumeSchema = z.strictObject({
  label: labelSchema,
  persistent: z.boolean(),
  nsgroup: groupSchema,
  size: mebibytesSchema,
  enforce: z.boolean().optional(),
});

const installReleaseSchema = z.strictObject({
  serial: serialSchema,
  epoch: epochSchema,
  expires: timeSchema.optional(),
  /** DER of the CA certificates that are trusted from this release on, and no others. */
  anchors: z
    .array(base64Schema({ min: 1, max: maxCertificateSize }))
    .min(1)
    .max(maxAnchors)
    .optional(),
  revoked: z.array(fingerprintSchema).min(1).max(maxRevoked).optional(),
  rollout: rolloutSchema.optional(),
});

export const installManifestSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is"),
  product: lineSchema(255),
  storage: z
    .array(installVolumeSchema)
    .max(256)
    .nullish()
    .transform((volumes) => volumes ?? []),
  targets: z.array(installTargetSchema).max(512),
  update_type: z.enum(["complete", "partial"]),
  release: installReleaseSchema.optional(),
  health: installGateSchema.optional(),
});

export type InstallManifest = z.output<typeof installManifestSchema>;
export type Target = InstallManifest["targets"][number];
export type Port = Target["network"]["ports"][number];
export type Volume = InstallManifest["storage"][number];
export type Release = NonNullable<InstallManifest["release"]>;

// ---- manifest.yaml: what a person may leave out has a default ---------------------------------------------

const importTargetSchema = z.strictObject({
  service_name: nameSchema.describe("Name of the service, once in a manifest."),
  source: lineSchema(4096).describe(
    "Where the image comes from: `docker://HOST/PATH:TAG`, `oci:DIR:TAG`, `oci-archive:FILE[:TAG]`, `rootfs:DIR` or `rootfs:FILE.tar`. Relative paths start at the manifest's directory.",
  ),
  version: lineSchema(128).describe("Shown to people; mos does not compare it."),
  service_type: serviceTypeSchema
    .default("container")
    .describe(
      "`container` runs; `fs-only` is mounted read-only and does not run; `hostfs` is the root of the host, which it is started from together with the kernel image in the target `bootkit`.",
    ),
  nsgroup: groupSchema
    .default("")
    .describe(
      "Group of services that share one range of 65536 uids and gids. Empty or `none`: the host's own ids, without a user namespace.",
    ),
  network: z
    .strictObject({
      type: networkTypeSchema.describe(
        "`none`: loopback only; `host`: the device's own network; `simple`: a bridge with address translation.",
      ),
      ipv4: addressSchema(4)
        .default("")
        .describe(
          "Fixed address with its prefix, such as `10.0.3.99/24`; `simple` only. Without `ipv4` and `ipv6` a service has an address in 198.18.0.0/15 (and, where one of these services says `ipv6: auto`, in fd50:e69:25a::/64) that follows from its name, and stays the same as long as that does.",
        ),
      ipv6: ipv6Schema
        .default("")
        .describe(
          "Fixed address with its prefix, such as `fd00:3::99/64`; `simple` only. `auto`, where `ipv4` is not fixed: the network of the services without a fixed address has IPv6 as well. A device has to have it, or none of them starts.",
        ),
      ports: z
        .array(portMappingSchema)
        .max(256)
        .default([])
        .describe("Ports published on the device; `simple` only."),
      ...networkFields,
    })
    .default({ type: "none", ipv4: "", ipv6: "", ports: [] })
    .describe("How the service is connected."),
  storage: z
    .array(mountSchema)
    .max(64)
    .default([])
    .describe("Volumes that the service uses; `container` only."),
  digest: digestSchema
    .optional()
    .describe("Digest of the image manifest that the source must resolve to, or publishing fails."),
  size: manifestSizeSchema.optional().describe("Bytes of that image manifest, checked likewise."),
  secrets: importSecretsSchema,
  health: importHealthSchema
    .optional()
    .describe("When the service counts as well. Left out: when systemd says that it is up, and stays so."),
  ...importServiceFields,
});

const importVolumeSchema = z.strictObject({
  label: labelSchema.describe("Name of the volume, once in a manifest."),
  persistent: z
    .boolean()
    .default(false)
    .describe("true: a directory in `/var/lib/mos/volumes` that stays; false: memory, until power-off."),
  nsgroup: groupSchema
    .default("")
    .describe("Whose root owns the volume; must be the nsgroup of every service that uses it."),
  size: sizeSchema.describe(
    "MiB, or a number with M, G or T. Always enforced for volumes in memory; for persistent ones with `enforce`.",
  ),
  enforce: z
    .boolean()
    .optional()
    .describe(
      "true: a persistent volume is a file system of its own of that size (ext4 in a file that grows as it is used), so that only its services find it full. It grows when `size` does, and never shrinks. Choose when the volume is made: a volume is not converted.",
    ),
});

const importReleaseSchema = z.strictObject({
  serial: serialSchema.describe(
    "Number of the release; grows with every one. `mosctl update` does not go back to a lower one unless told to.",
  ),
  epoch: epochSchema
    .default(0)
    .describe(
      "Grows only when going back must be impossible: a device that has accepted an epoch refuses all lower ones for ever.",
    ),
  expires: timeSchema
    .optional()
    .describe("After this time (UTC) the manifest is no longer applied. What is installed does not expire."),
  anchors: z
    .array(lineSchema(4096))
    .min(1)
    .max(maxAnchors)
    .optional()
    .describe(
      "PEM files of the CA certificates that devices trust from this release on, and no others. Has to be signed under the old and the new CA, and in a higher epoch.",
    ),
  revoked: z
    .array(fingerprintSchema)
    .min(1)
    .max(maxRevoked)
    .optional()
    .describe(
      "SHA-256 (hex) of certificates or public keys that devices accept no longer. In a higher epoch only.",
    ),
  rollout: rolloutSchema
    .optional()
    .describe(
      "Which devices update themselves to it first. Each decides by a hash of its own; `mosctl update REF` by hand does not ask.",
    ),
});

export const importManifestSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is").describe("Version of this format."),
  product: lineSchema(255).describe("Product that the manifest is for, usually the project's uuid."),
  update_type: z
    .enum(["complete", "partial"])
    .default("complete")
    .describe(
      "`complete` replaces everything that ran; `partial` replaces the targets and volumes that it names, and keeps the others under the signatures that they came with.",
    ),
  storage: z.array(importVolumeSchema).max(256).default([]).describe("Volumes that services share or keep."),
  targets: z
    .array(importTargetSchema)
    .min(1, "must list at least one target")
    .max(512)
    .describe("The services, and what else is to be on the device."),
  release: importReleaseSchema
    .optional()
    .describe("Which release this is, and whom devices trust after it. Once used it cannot be left out."),
  health: importGateSchema
    .optional()
    .describe("How a device judges the manifest as a whole before it keeps it."),
});

export type ImportManifest = z.output<typeof importManifestSchema>;
export type ImportTarget = ImportManifest["targets"][number];
