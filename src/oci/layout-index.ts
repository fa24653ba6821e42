// The index.json of an OCI layout (OCI image specification 1.1, "OCI Image Layout"): which manifests there are,
// and their names. Pure. Entries that others wrote keep the fields that mos does not know.
import { type Json, parseJson } from "../system/json.ts";
import type { Digest } from "./digest.ts";
import { type Descriptor, type ImageIndex, mediaTypes, parseIndex } from "./model.ts";

/** Name of a manifest within a layout ("Pre-Defined Annotation Keys"). */
const refNameAnnotation = "org.opencontainers.image.ref.name";

type Entry = ImageIndex["manifests"][number];

interface Listed {
  readonly entry: Entry;
  /** The entry as it was written, so that it can be written again unchanged. */
  readonly raw: Json;
}

export interface LayoutIndex {
  readonly listed: readonly Listed[];
  readonly annotations: ImageIndex["annotations"];
}

export const emptyLayoutIndex: LayoutIndex = { listed: [], annotations: undefined };

/** A manifest and the name it gets. */
export interface Reference {
  readonly descriptor: Descriptor;
  readonly name?: string;
}

/** @throws MosError `document-invalid` */
export function parseLayoutIndex(bytes: Uint8Array, about: string): LayoutIndex {
  const { manifests, annotations } = parseIndex(bytes, about);
  const document = parseJson(bytes, about);
  const raw =
    document !== null && typeof document === "object" && !Array.isArray(document)
      ? document["manifests"]
      : [];
  const listed = manifests.map((entry, at) => ({
    entry,
    raw: (Array.isArray(raw) ? raw[at] : undefined) ?? rawOf({ descriptor: entry }),
  }));
  return { listed, annotations };
}

/** The bytes of index.json. */
export function encodeLayoutIndex({ listed, annotations }: LayoutIndex): Uint8Array {
  const document: Json = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: listed.map(({ raw }) => raw),
    ...(annotations === undefined ? {} : { annotations }),
  };
  return new TextEncoder().encode(JSON.stringify(document));
}

function nameOf(entry: Entry): string | undefined {
  return entry.annotations?.[refNameAnnotation];
}

/** Entries of this name; more than one only when others wrote it so (one per platform). */
export function entriesNamed(index: LayoutIndex, name: string): readonly Entry[] {
  return index.listed.flatMap(({ entry }) => (nameOf(entry) === name ? [entry] : []));
}

/** All names that are given, each once. */
export function namesIn(index: LayoutIndex): readonly string[] {
  return [...new Set(index.listed.flatMap(({ entry }) => nameOf(entry) ?? []))];
}

/** The entry of a manifest, whatever its name. */
export function entryOf(index: LayoutIndex, digest: Digest): Entry | undefined {
  return index.listed.find(({ entry }) => entry.digest === digest)?.entry;
}

/** The entry in the key order of the specification's own types. */
function rawOf({ descriptor, name }: Reference): Json {
  const { mediaType, digest, size, artifactType } = descriptor;
  const annotations =
    name === undefined ? descriptor.annotations : { ...descriptor.annotations, [refNameAnnotation]: name };
  return {
    mediaType,
    digest,
    size,
    ...(annotations === undefined ? {} : { annotations }),
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

function listedOf(reference: Reference): Listed {
  const { descriptor, name } = reference;
  const entry =
    name === undefined
      ? descriptor
      : { ...descriptor, annotations: { ...descriptor.annotations, [refNameAnnotation]: name } };
  return { entry, raw: rawOf(reference) };
}

/** The index with a manifest put under a name, which its older holder loses, or listed without one. */
export function withReference(index: LayoutIndex, reference: Reference): LayoutIndex {
  const { descriptor, name } = reference;
  const others = index.listed.filter(({ entry }) => {
    if (name !== undefined && nameOf(entry) === name) return false;
    // A listing without name is replaced by one with a name, so that each manifest has no more than it needs.
    return !(entry.digest === descriptor.digest && nameOf(entry) === undefined);
  });
  const isListed = others.some(({ entry }) => entry.digest === descriptor.digest);
  if (name === undefined && isListed) return { ...index, listed: others };
  return { ...index, listed: [...others, listedOf(reference)] };
}

/** An index of exactly these references. */
export function indexOf(references: readonly Reference[]): LayoutIndex {
  return { listed: references.map(listedOf), annotations: undefined };
}
