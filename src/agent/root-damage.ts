// The root that runs, where the disk no longer has what was signed: reading that is an error from then on.
import { MosError } from "../errors/mos-error.ts";
import type { VerityStates } from "./observe.ts";
import type { StartedSystem } from "./started.ts";

/** Name of the device of a layer of the root, the lowest first (mos-hostfs.sh of the initrd; systemd-veritysetup-generator(8)). */
const deviceOf = (layer: number): string => (layer === 0 ? "root" : `mos-root${layer}`);

/** What the kernel has seen of it since the start: `layer-corrupt` for each layer, or nothing. Pure. */
export function rootDamage(started: StartedSystem | undefined, states: VerityStates): readonly MosError[] {
  if (started === undefined) return [];
  return started.root.rootHashes.flatMap((rootHash, layer) => {
    if (states.get(deviceOf(layer)) !== "corrupt") return [];
    const about = started.root.stored?.[layer]?.digest ?? `root hash ${rootHash}`;
    return new MosError(
      "layer-corrupt",
      "the root that runs has bad blocks on the disk, and cannot be read there",
      {
        about,
        hint: "Update to a release with another root; or go back (mosctl rollback, mosctl update --reboot) and update again, which fetches it anew.",
      },
    );
  });
}
