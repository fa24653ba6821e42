// The host's root as EROFS and its dm-verity tree, in files of their own: whole blocks of 4096 bytes each. The same
// tree, time and name give the same bytes.
import { createHash } from "node:crypto";
import { run } from "../system/process.ts";
import { uuidFrom } from "./stable-uuid.ts";

const timeoutMs = 3600_000;

export interface HostfsInput {
  readonly tree: string;
  /** Seconds; of every file in it. */
  readonly epoch: number;
  /** Names the image, for what has to be a name and the same each time. */
  readonly seed: string;
  readonly compression: "lz4" | "lz4hc";
  /** Paths of the files to make. */
  readonly root: string;
  readonly verity: string;
}

/**
 * Makes both files.
 * @returns the root hash, 64 lower-case hex digits
 * @throws MosError `program-missing`, `program-failed`, `no-space`
 */
export async function makeHostfs(input: HostfsInput): Promise<string> {
  const { tree, epoch, seed, compression, root, verity } = input;
  const form = [
    `-z${compression}`,
    "-C65536",
    "-Enoinline_data",
    `-T${epoch}`,
    `-U${uuidFrom(seed, "root")}`,
  ];
  await run("mkfs.erofs", ["--quiet", ...form, root, tree], { timeoutMs });
  const salt = createHash("sha256").update(`mos hostfs salt ${seed}`).digest("hex");
  const { stdout } = await run(
    "veritysetup",
    [
      ...["format", "--format=1", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"],
      ...[`--salt=${salt}`, `--uuid=${uuidFrom(seed, "verity")}`, root, verity],
    ],
    { timeoutMs },
  );
  return /^Root hash:\s+([0-9a-f]{64})$/m.exec(stdout)?.[1] ?? "";
}
