// What the kernel says about the services of mos: the state of their dm-verity devices and the uid maps of their
// processes. Read when asked, never remembered.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { MosError } from "../errors/mos-error.ts";
import { type Digest, digestFromHex, digestOf } from "../oci/digest.ts";
import { run } from "../system/process.ts";

/** Device name → whether dm-verity has seen a bad block (Documentation/admin-guide/device-mapper/verity.rst, "Status"). */
export type VerityStates = ReadonlyMap<string, "verified" | "corrupt">;

/** Parses `dmsetup status --target verity`: `NAME: START LENGTH verity V` or `… C`. */
export function parseVerityStatus(text: string): VerityStates {
  return new Map(
    text.split("\n").flatMap((line) => {
      const match = /^(\S+): \d+ \d+ verity ([VC])/.exec(line);
      return match?.[1] === undefined ? [] : [[match[1], match[2] === "V" ? "verified" : "corrupt"] as const];
    }),
  );
}

/** The state of all open verity devices; none where device mapper is not there or not permitted. */
export async function verityStates(): Promise<VerityStates> {
  try {
    return parseVerityStatus(
      (await run("dmsetup", ["status", "--target", "verity"], { timeoutMs: 10_000 })).stdout,
    );
  } catch (error) {
    if (error instanceof MosError) return new Map();
    throw error;
  }
}

const cgroupRoot = "/sys/fs/cgroup";

/** A process of the container of a unit (podman puts it into a cgroup of its own, `libpod-payload-…`). */
export async function payloadProcess(controlGroup: string): Promise<number | undefined> {
  // A unit that has ended has no group, and what is in all groups is not its own.
  if (controlGroup === "" || controlGroup === "/") return undefined;
  const unit = join(cgroupRoot, controlGroup);
  const names = await readdir(unit, { recursive: true }).catch(() => []);
  for (const name of names.filter((path) => /(^|\/)libpod-payload-[^/]*\/cgroup\.procs$/.test(path))) {
    const first = (await readFile(join(unit, name), "utf8").catch(() => "")).split("\n")[0] ?? "";
    if (/^[1-9][0-9]*$/.test(first)) return Number(first);
  }
  return undefined;
}

/** The id of the container of a unit, which its cgroup is named after; undefined when none runs. */
export async function payloadContainer(controlGroup: string): Promise<string | undefined> {
  if (controlGroup === "" || controlGroup === "/") return undefined;
  const names = await readdir(join(cgroupRoot, controlGroup)).catch(() => []);
  return names.flatMap((name) => /^libpod-payload-([0-9a-f]{64})$/.exec(name)?.[1] ?? [])[0];
}

/** The uid map of a service's processes as `inside outside length` (user_namespaces(7)); undefined if none runs. */
export async function uidMapOf(controlGroup: string): Promise<string | undefined> {
  const pid = await payloadProcess(controlGroup);
  if (pid === undefined) return undefined;
  const text = await readFile(`/proc/${pid}/uid_map`, "utf8").catch(() => undefined);
  return text?.trim().replaceAll(/\s+/g, " ");
}

const pieceBytes = 1024 * 1024;

const checkedBlobs = new Map<string, Digest>();

/**
 * The digest that a stored blob really has. Remembered while the file is the same one, because a status that is
 * asked for every second must not read a broken layer every second.
 */
export async function actualDigest(path: string): Promise<Digest> {
  const { ino, size, mtimeMs, ctimeMs } = await stat(path);
  // A document, not a layer: reading it costs less than setting up a stream.
  if (size <= pieceBytes) return digestOf(await readFile(path));
  const key = `${path} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  const known = checkedBlobs.get(key);
  if (known !== undefined) return known;
  const hash = createHash("sha256");
  await pipeline(
    createReadStream(path, { highWaterMark: pieceBytes }),
    async (pieces: AsyncIterable<Buffer>) => {
      for await (const piece of pieces) hash.update(piece);
    },
  );
  const digest = digestFromHex(hash.digest("hex"));
  checkedBlobs.set(key, digest);
  return digest;
}

/** `@1718000000` or `@1718000000.123456` of systemctl --timestamp=unix, as RFC 3339. */
export function timestamp(text: string | undefined): string | undefined {
  const seconds = /^@(\d+)/.exec(text ?? "")?.[1];
  return seconds === undefined ? undefined : new Date(Number(seconds) * 1000).toISOString();
}
