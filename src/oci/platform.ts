// Which manifest of an image index is for this machine (OCI image specification 1.1, "OCI Image Index").
import { MosError } from "../errors/mos-error.ts";
import type { Descriptor, ImageIndex } from "./model.ts";

/** GOARCH names, which the specification uses, of the architectures that Node names otherwise. */
const architectures: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
};

/** The architecture of this process, as OCI documents name it. */
export function thisArchitecture(): string {
  return architectures[process.arch] ?? process.arch;
}

/**
 * The entry of an index for linux on this machine. An index of one entry without platform is taken as it is.
 * @throws MosError `not-found` naming the platforms that there are
 */
export function chooseForPlatform(entries: Readonly<ImageIndex["manifests"]>, about: string): Descriptor {
  const architecture = thisArchitecture();
  const fitting = entries.find(
    ({ platform }) => platform?.os === "linux" && platform.architecture === architecture,
  );
  if (fitting !== undefined) return fitting;
  const [only, ...more] = entries;
  if (only !== undefined && more.length === 0 && only.platform === undefined) return only;
  const offered = entries.flatMap(({ platform }) =>
    platform === undefined ? [] : [`${platform.os}/${platform.architecture}`],
  );
  throw new MosError(
    "not-found",
    `${about} has no manifest for linux/${architecture}, only for ${offered.join(", ") || "no platform"}`,
    { about },
  );
}
