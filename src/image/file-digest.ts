// The digest of a file of any size.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { type Digest, digestFromHex } from "../oci/digest.ts";

/** @throws MosError `file-unreadable` */
export async function fileDigest(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  try {
    for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(piece);
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${path}: ${systemCode(error) ?? "unknown"}`, {
      about: path,
      cause: error,
    });
  }
  return digestFromHex(hash.digest("hex"));
}
