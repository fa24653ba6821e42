// The kernel's command line, as far as it says what a system was started from: the signed text of a unified kernel
// image, and /proc/cmdline of the system that it has started. Pure.
import { MosError } from "../errors/mos-error.ts";
import type { Digest } from "../oci/digest.ts";
import { isDigest } from "../oci/digest.ts";

/** Words that mos reads; initrd-hooks/dracut/60mos/mos-hostfs.sh reads the same. */
const words = {
  /** Digest of the lowest layer of the root, in the device's store. */
  hostfs: "mos.hostfs",
  /** Bytes before its hash tree. */
  offset: "mos.hostfs-offset",
  /** Of its dm-verity tree, 64 hex digits (systemd-veritysetup-generator(8)). */
  rootHash: "roothash",
  /** One for each layer above it, from the lowest to the highest: DIGEST,OFFSET,ROOTHASH,KIND. */
  layer: "mos.hostfs-layer",
} as const;

/**
 * Most layers of a root. Each above the first takes some 170 of the 2047 characters that the kernel reads of its command
 * line on x86 (COMMAND_LINE_SIZE).
 */
export const mostRootLayers = 9;

/** A layer of a root: what has to be in the store, and what it has to be. */
export interface RootLayer {
  readonly digest: Digest;
  /** 64 lower-case hex digits. */
  readonly rootHash: string;
}

/** The root that a command line names. */
export interface NamedRoot {
  /** Of its layers, the lowest first; 64 lower-case hex digits each. At least one. */
  readonly rootHashes: readonly string[];
  /** Its layers in the store, the lowest first; undefined where it is in a partition. */
  readonly stored: readonly RootLayer[] | undefined;
}

/** A layer that is to be part of the root. */
export interface StoredLayer extends RootLayer {
  /** Bytes before its hash tree. */
  readonly hashOffset: number;
  readonly kind: "erofs" | "squashfs";
}

function split(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** Values of the words NAME=VALUE, in order. */
function wordValues(text: string, name: string): string[] {
  return split(text)
    .filter((word) => word.startsWith(`${name}=`))
    .map((word) => word.slice(name.length + 1));
}

const rootHashPattern = /^[0-9a-f]{64}$/;

/** A layer above the lowest one, as a word says it. */
function upperLayer(value: string): RootLayer | undefined {
  const [digest = "", offset = "", rootHash = "", kind = "", ...more] = value.split(",");
  const isLayer =
    /^[0-9]{1,15}$/.test(offset) && rootHashPattern.test(rootHash) && /^(?:erofs|squashfs)$/.test(kind);
  return isLayer && more.length === 0 && isDigest(digest) ? { digest, rootHash } : undefined;
}

/** The verified root that a command line names; undefined when it names none that mos can read. */
export function namedRoot(commandLine: string): NamedRoot | undefined {
  // The last of several counts, as for the kernel.
  const rootHash = wordValues(commandLine, words.rootHash).at(-1);
  if (rootHash === undefined || !rootHashPattern.test(rootHash)) return undefined;
  const digest = wordValues(commandLine, words.hostfs).at(-1);
  const above = wordValues(commandLine, words.layer);
  if (digest === undefined)
    return above.length === 0 ? { rootHashes: [rootHash], stored: undefined } : undefined;
  if (!isDigest(digest) || above.length >= mostRootLayers) return undefined;
  const uppers = above.map(upperLayer).filter((layer) => layer !== undefined);
  if (uppers.length !== above.length) return undefined;
  const stored = [{ digest, rootHash }, ...uppers];
  return { rootHashes: stored.map((layer) => layer.rootHash), stored };
}

/** Whether a root is the one with these layers: by all of their root hashes, which say what is in them. */
export function isRootOf({ rootHashes }: NamedRoot, layers: readonly RootLayer[] | undefined): boolean {
  return (
    layers !== undefined &&
    layers.length === rootHashes.length &&
    layers.every(({ rootHash }, i) => rootHash === rootHashes[i])
  );
}

/** One text for a root of the store, the same for the same layers in the same order. */
export function rootIdentity(layers: readonly RootLayer[]): string {
  return layers.map(({ digest, rootHash }) => `${digest},${rootHash}`).join(" ");
}

/**
 * Whether a running system was started by the image with this signed command line: by all of its words and no others.
 * What addons (systemd-stub(7)) put behind it makes it one that mos does not know.
 * @param running /proc/cmdline
 */
export function isStartedBy(running: string, signed: string): boolean {
  const wanted = split(signed).join(" ");
  return wanted !== "" && split(running).join(" ") === wanted;
}

/**
 * What the kernel and the initrd are told so that they find the root in the store and verify it.
 * @param layers the lowest first
 * @throws MosError `layer-unsupported` for more than {@link mostRootLayers} of them, or none
 */
export function storedRootCommandLine(layers: readonly StoredLayer[]): string {
  const [lowest, ...above] = layers;
  if (lowest === undefined || layers.length > mostRootLayers) {
    throw new MosError(
      "layer-unsupported",
      `cannot start from a root of ${layers.length} layers: it has one to ${mostRootLayers}`,
      { about: "hostfs" },
    );
  }
  const { digest, rootHash, hashOffset, kind } = lowest;
  return [
    `${words.rootHash}=${rootHash}`,
    // There is no partition for systemd's generator to look for: the unit mos-hostfs of the initrd opens the layers.
    "systemd.verity=no",
    `${words.hostfs}=${digest}`,
    `${words.offset}=${hashOffset}`,
    ...above.map((one) => `${words.layer}=${[one.digest, one.hashOffset, one.rootHash, one.kind].join(",")}`),
    `root=/dev/mapper/root ro rootfstype=${kind} systemd.volatile=overlay`,
  ].join(" ");
}
