// A kernel image and a root belong together when the image's signed command line names the root: each of its layers, by
// digest and root hash, in their order. Checked where they are published and again where they are put to use. Pure.
import { MosError } from "../errors/mos-error.ts";
import { namedRoot, type RootLayer } from "./command-line.ts";

/**
 * @param commandLine of the kernel image
 * @param layers of the root, the lowest first
 * @throws MosError `boot-pair-mismatch`, whose `about` is the layer
 */
export function checkPair(commandLine: string, layers: readonly RootLayer[]): void {
  const refuse = (why: string, layer?: RootLayer): MosError =>
    new MosError(
      "boot-pair-mismatch",
      `cannot use this kernel image (bootkit) with this root (hostfs): ${why}`,
      { about: layer?.digest ?? "hostfs" },
    );
  const named = namedRoot(commandLine)?.stored;
  if (named === undefined) throw refuse("its signed command line names no root of the store");
  if (named.length !== layers.length) {
    const more = layers[named.length] ?? named[layers.length];
    throw refuse(
      `its signed command line names ${named.length} layers, and the root has ${layers.length}`,
      more,
    );
  }
  for (const [i, layer] of layers.entries()) {
    const { digest, rootHash } = named[i] ?? {};
    const which = layers.length === 1 ? "" : ` for layer ${i + 1} of ${layers.length}`;
    if (digest !== layer.digest) throw refuse(`its signed command line names ${digest}${which}`, layer);
    if (rootHash !== layer.rootHash)
      throw refuse(`its signed command line has the root hash ${rootHash}${which}`, layer);
  }
}
