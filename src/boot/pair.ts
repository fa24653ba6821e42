// A kernel image and a root belong together when the image's signed command line names the root, by its digest and by
// its root hash. Checked where they are published and again where they are put to use. Pure.
import { MosError } from "../errors/mos-error.ts";
import type { Digest } from "../oci/digest.ts";
import { namedRoot } from "./command-line.ts";

interface Root {
  readonly digest: Digest;
  readonly rootHash: string;
  /** How many layers its image has. */
  readonly layers: number;
}

/**
 * @param commandLine of the kernel image
 * @throws MosError `boot-pair-mismatch`, `layer-unsupported` for a root of several layers
 */
export function checkPair(commandLine: string, { digest, rootHash, layers }: Root): void {
  if (layers !== 1) {
    throw new MosError(
      "layer-unsupported",
      `cannot start from a root of ${layers} layers: it has to be one`,
      {
        about: "hostfs",
        hint: "mosb image build --targets makes a root of one layer.",
      },
    );
  }
  const named = namedRoot(commandLine);
  const refuse = (why: string): MosError =>
    new MosError(
      "boot-pair-mismatch",
      `cannot use this kernel image (bootkit) with this root (hostfs): ${why}`,
      {
        about: digest,
      },
    );
  if (named?.hostfs === undefined) throw refuse("its signed command line names no root of the store");
  if (named.hostfs !== digest) throw refuse(`its signed command line names ${named.hostfs}`);
  if (named.rootHash !== rootHash)
    throw refuse(`its signed command line has the root hash ${named.rootHash}`);
}
