// The kernel's command line, as far as it says what a system was started from: the signed text of a unified kernel
// image, and /proc/cmdline of the system that it has started. Pure.
import type { Digest } from "../oci/digest.ts";
import { isDigest } from "../oci/digest.ts";

/** Words that mos reads; initrd-hooks/dracut/60mos/mos-hostfs.sh reads the same. */
const words = {
  /** Digest of the layer in the device's store that is the root. */
  hostfs: "mos.hostfs",
  /** Bytes before its hash tree. */
  offset: "mos.hostfs-offset",
  /** Of the root's dm-verity tree, 64 hex digits (systemd-veritysetup-generator(8)). */
  rootHash: "roothash",
} as const;

/** The root that a command line names. */
export interface NamedRoot {
  /** 64 lower-case hex digits. */
  readonly rootHash: string;
  /** Its layer in the store; undefined where it is in a partition. */
  readonly hostfs: Digest | undefined;
}

/** A layer that is to be the root. */
export interface StoredRoot {
  readonly digest: Digest;
  readonly rootHash: string;
  /** Bytes before its hash tree. */
  readonly hashOffset: number;
  readonly kind: "erofs" | "squashfs";
}

function split(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** The last of the words NAME=VALUE counts, as for the kernel. */
function wordValue(text: string, name: string): string | undefined {
  const found = split(text).findLast((word) => word.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

/** The verified root that a command line names; undefined when it names none that mos can read. */
export function namedRoot(commandLine: string): NamedRoot | undefined {
  const rootHash = wordValue(commandLine, words.rootHash);
  if (rootHash === undefined || !/^[0-9a-f]{64}$/.test(rootHash)) return undefined;
  const hostfs = wordValue(commandLine, words.hostfs);
  if (hostfs === undefined) return { rootHash, hostfs: undefined };
  return isDigest(hostfs) ? { rootHash, hostfs } : undefined;
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

/** What the kernel and the initrd are told so that they find the root in the store and verify it. */
export function storedRootCommandLine({ digest, rootHash, hashOffset, kind }: StoredRoot): string {
  return [
    `${words.rootHash}=${rootHash}`,
    // There is no partition for systemd's generator to look for: the unit mos-hostfs of the initrd opens the layer.
    "systemd.verity=no",
    `${words.hostfs}=${digest}`,
    `${words.offset}=${hashOffset}`,
    `root=/dev/mapper/root ro rootfstype=${kind} systemd.volatile=overlay`,
  ].join(" ");
}
