// `mosb manifest publish`.
import { dirname, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import { type LayerFormat, layerFormats } from "../../layers/pack.ts";
import { openWritable } from "../../oci/open.ts";
import { parseDestination, parseReference } from "../../oci/reference.ts";
import type { Destination, Published } from "../../publish/publish.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues, table } from "../output.ts";
import { startProgress } from "../progress.ts";
import type { OutputStream } from "../terminal.ts";
import { manifestFile, readManifest } from "./manifest-file.ts";
import { createdTime, openSigners, type SignerFlags, signerFlags } from "./signers.ts";

const word = (input: string): string => input;

interface PublishFlags extends JsonFlag, SignerFlags {
  readonly repo?: string;
  readonly name?: string;
  readonly dest?: string;
  readonly layerFormat: LayerFormat;
  readonly patchFrom?: readonly string[];
  readonly unchecked?: readonly string[];
}

interface Place {
  readonly destination: Destination;
  /** What a device is told to update to. */
  readonly shown: string;
}

/** Where to publish: a registry, a layout on disk, or both. */
function placesOf({ repo, name, dest }: PublishFlags): Place[] {
  const places: Place[] = [];
  if (repo !== undefined) {
    if (name === undefined)
      throw new MosError("usage", "cannot publish to a registry without --name PATH:TAG");
    const reference = parseDestination(repo, name);
    const scheme = reference.scheme === "http" ? "http://" : "";
    places.push({
      destination: { ...openWritable(reference), tag: reference.reference },
      shown: `${scheme}${reference.authority}/${reference.repository}:${reference.reference}`,
    });
  }
  if (dest !== undefined) {
    const directory = /^oci:(.+)$/.exec(dest)?.[1];
    if (directory === undefined) {
      throw new MosError("usage", `cannot publish to ${dest}: a destination on disk is oci:DIR`, {
        hint: "For one file to carry: tar -cf FILE.tar -C DIR oci-layout index.json blobs",
      });
    }
    const shown = `oci:${resolve(directory)}:${tagOf(name)}`;
    // Read back as a device will: what it could not name is not published.
    const reference = parseReference(shown);
    places.push({ destination: { ...openWritable(reference), tag: reference.reference }, shown });
  }
  if (places.length === 0) {
    throw new MosError(
      "usage",
      "cannot publish to nowhere: give --repo HOST:PORT and --name PATH:TAG, or --dest oci:DIR",
    );
  }
  return places;
}

/** The tag of `PATH:TAG`; a layout needs no path, because it holds the manifests of one place. */
function tagOf(name: string | undefined): string {
  if (name === undefined) return "latest";
  const colon = name.lastIndexOf(":");
  if (colon < 0) throw new MosError("usage", `cannot publish as ${name}: the tag is missing, write PATH:TAG`);
  return name.slice(colon + 1);
}

/** Compression across file boundaries moves everything behind a change: no block of the old layer is in the new. */
const squashfsAdvice =
  "A squashfs layer is fetched whole at every update; --layer-format erofs lets devices fetch what changed.";

function patchRows({ patches }: Published): string[][] {
  return patches.map(({ service, bytes, layerBytes, from }) => [
    service,
    formatBytes(bytes),
    formatBytes(layerBytes),
    from,
  ]);
}

function showPublished(stdout: OutputStream, reference: string, published: Published): string {
  const rows = published.targets.map(({ name, digest, bytes }) => [name, formatBytes(bytes), digest]);
  return [
    published.outcome === "unchanged" ? "Nothing to do: published already.\n\n" : "Published.\n\n",
    keyValues(stdout, [
      ["reference", reference],
      ["manifest", published.manifestDigest],
      ["artifact", published.artifactDigest],
      ["sent", formatBytes(published.sentBytes)],
    ]),
    `\n${table(stdout, ["TARGET", "SIZE", "IMAGE"], rows)}`,
    ...(published.patches.length === 0
      ? []
      : [`\n${table(stdout, ["TARGET", "PATCH", "OF LAYER", "FROM LAYER"], patchRows(published))}`]),
    ...(published.packed === "squashfs" ? [`\n${squashfsAdvice}\n`] : []),
    `\nNext, on a device: mosctl update ${reference}\n`,
  ].join("");
}

export const manifestPublish = withExamples(
  buildCommand<PublishFlags, [string], CliContext>({
    docs: {
      brief: "Compile, sign and publish a manifest with its images",
      fullDescription: `Packs every rootfs: source into a verity layer, copies every other image, and publishes install.json with its
certificate and signature. The tag is set last: until then nobody sees anything new. Publishing the same again
changes nothing.

What each target starts has to be in its own image, with its interpreter and all libraries that it needs; for this, images
are fetched and unpacked. --unchecked leaves it out for a service whose program the device brings otherwise.

Sources of a target: docker://HOST/PATH:TAG, oci:DIR:TAG, oci-archive:FILE[:TAG], rootfs:DIR,
rootfs:FILE.tar`,
    },
    parameters: {
      flags: {
        ...signerFlags,
        repo: {
          kind: "parsed",
          parse: word,
          brief: "Registry to publish to",
          placeholder: "HOST:PORT",
          optional: true,
        },
        name: {
          kind: "parsed",
          parse: word,
          brief: "Name of the manifest there",
          placeholder: "PATH:TAG",
          optional: true,
        },
        dest: {
          kind: "parsed",
          parse: word,
          brief: "OCI layout to publish to, besides or instead",
          placeholder: "oci:DIR",
          optional: true,
        },
        layerFormat: {
          kind: "enum",
          values: layerFormats,
          brief: "File system of layers made from rootfs: sources",
          default: "squashfs",
        },
        patchFrom: {
          kind: "parsed",
          parse: word,
          brief: "Older publication: patches from its layers are published too",
          placeholder: "REF",
          variadic: true,
          optional: true,
        },
        unchecked: {
          kind: "parsed",
          parse: word,
          brief: "Service whose program is not looked for, and whose image is not opened",
          placeholder: "NAME",
          variadic: true,
          optional: true,
        },
        json: jsonFlag,
      },
      positional: manifestFile,
    },
    async func(flags, file) {
      const { stdout, env } = this.terminal;
      const manifest = await readManifest(file);
      const places = placesOf(flags);
      const signers = await openSigners(env, flags);
      const created = createdTime(flags.created, env["SOURCE_DATE_EPOCH"]);
      const progress = startProgress(this.terminal, {
        what: "publishing",
        unit: "items",
        json: flags.json === true,
      });
      const { publish } = await import("../../publish/publish.ts");
      const patchFrom = flags.patchFrom ?? [];
      const perTarget = patchFrom.length === 0 ? 2 : 3;
      const steps = (perTarget * manifest.targets.length + 2) * places.length;
      let step = 0;
      const done: { readonly reference: string; readonly published: Published }[] = [];
      try {
        for (const { destination, shown } of places) {
          const published = await publish({
            manifest,
            baseDirectory: dirname(resolve(file)),
            signers,
            destination,
            format: flags.layerFormat,
            patchFrom,
            unchecked: flags.unchecked ?? [],
            created,
            onStep: (what) => progress.update(step++, steps, what),
          });
          done.push({ reference: shown, published });
        }
      } finally {
        progress.stop();
      }
      if (flags.json) {
        const documents = done.map(({ reference, published }) => ({ reference, ...published }));
        return stdout.write(jsonText(documents.length === 1 ? documents[0] : documents));
      }
      for (const { reference, published } of done) stdout.write(showPublished(stdout, reference, published));
    },
  }),
  [
    [
      "mosb manifest publish --project demo:zot --repo 127.0.0.1:5000 --name machine/install:1.0.0 manifest.yaml",
      "to a registry",
    ],
    [
      "mosb manifest publish --project demo:zot --dest oci:/media/usb/zot --name install:1.0.0 manifest.yaml",
      "to a directory, for a device without a network",
    ],
  ],
);
