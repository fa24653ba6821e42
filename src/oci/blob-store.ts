// Writing one blob into an OCI layout. The bytes go to a partial file named after the digest, hashed on their way;
// only what has the right digest and size gets the blob's name. A partial file that a crash or a broken network
// left is hashed again and continued.
import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { lstat } from "node:fs/promises";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { discard } from "../system/atomic-file.ts";
import { openFile, rename, type StateFile, syncDirectory } from "../system/durable.ts";
import { pieceBytes, pieceCopied } from "./blob-read.ts";
import { digestFromHex } from "./digest.ts";
import type { Descriptor } from "./model.ts";

/** Where one blob goes. */
interface Destination {
  readonly partial: string;
  readonly blob: string;
  /** Directory of `blob`. */
  readonly directory: string;
}

/** Where its bytes come from. */
interface Source {
  readonly name: string;
  /** Whether `open` can begin elsewhere than at 0. */
  readonly canResume: boolean;
  open(offset: number): AsyncIterable<Uint8Array>;
}

/** Errors after which the bytes so far are of no use; after all others, a later attempt continues with them. */
const fatal: ReadonlySet<string> = new Set(["digest-mismatch", "size-mismatch", "no-space", "too-large"]);

/**
 * Stores a blob. The caller has seen that it is not there.
 * @param onBytes told how many bytes of the blob are there, after each piece
 * @throws MosError `digest-mismatch`, `size-mismatch`, `no-space`, `busy` (another process stores the same blob),
 * and whatever the source throws
 */
export async function storeBlob(
  descriptor: Descriptor,
  source: Source,
  to: Destination,
  onBytes: (done: number) => void,
): Promise<void> {
  const handle = await openPartial(to.partial);
  try {
    await fill(handle, descriptor, source, onBytes);
    await handle.chmod(0o644);
    await handle.sync();
    await rename(to.partial, to.blob);
    await syncDirectory(to.directory);
  } catch (thrown) {
    const error = asMosError(thrown, descriptor.digest);
    const isUseless = fatal.has(error.code) || (await handle.stat()).size === 0;
    if (isUseless) await discard(to.partial);
    throw error;
  } finally {
    await handle.close();
  }
}

async function fill(
  handle: StateFile,
  descriptor: Descriptor,
  source: Source,
  onBytes: (done: number) => void,
): Promise<void> {
  const { size: found } = await handle.stat();
  const canContinue = source.canResume && found > 0 && found <= descriptor.size;
  if (canContinue && (await fillFrom(handle, found, descriptor, source, onBytes)) === descriptor.digest)
    return;
  // Nothing to continue, or what was there was not what it seemed: after a power cut a file can have its length
  // but not its content.
  await handle.truncate(0);
  const actual = await fillFrom(handle, 0, descriptor, source, onBytes);
  if (actual === descriptor.digest) return;
  throw new MosError(
    "digest-mismatch",
    `${source.name} sent content with the digest ${actual} for ${descriptor.digest}`,
    { about: descriptor.digest },
  );
}

/** Hashes the first `offset` bytes of the file and writes the rest. @returns the digest of the whole */
async function fillFrom(
  handle: StateFile,
  offset: number,
  descriptor: Descriptor,
  source: Source,
  onBytes: (done: number) => void,
) {
  const hash = createHash("sha256");
  await hashStart(handle, offset, hash);
  const writer = new PieceWriter(handle, hash, offset, onBytes);
  try {
    if (offset < descriptor.size) await copyPieces(source, offset, descriptor, writer);
  } catch (error) {
    // What came before the network broke is kept for the next attempt; that the source failed matters more than
    // that this did too.
    await writer.end().catch(() => undefined);
    throw error;
  }
  await writer.end();
  if (writer.total !== descriptor.size) throw wrongSize(source, descriptor, "fewer");
  return digestFromHex(hash.digest("hex"));
}

async function copyPieces(
  source: Source,
  offset: number,
  descriptor: Descriptor,
  writer: PieceWriter,
): Promise<void> {
  const pieces = source.open(offset)[Symbol.asyncIterator]();
  try {
    for (let piece = await pieces.next(); piece.done !== true; piece = await pieces.next(pieceCopied)) {
      if (writer.total + piece.value.length > descriptor.size) throw wrongSize(source, descriptor, "more");
      await writer.add(piece.value);
    }
  } finally {
    // As `for await` does: the source closes its file or connection.
    await pieces.return?.();
  }
}

function wrongSize({ name }: Source, { digest, size }: Descriptor, how: "more" | "fewer"): MosError {
  return new MosError("size-mismatch", `${name} sent ${how} than the declared ${size} bytes of ${digest}`, {
    about: digest,
  });
}

async function hashStart(handle: StateFile, length: number, hash: Hash): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(pieceBytes, length));
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - at), at);
    if (bytesRead === 0) throw new MosError("io-failed", "the partial file became shorter while it was read");
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/**
 * Collects bytes into two buffers in turn: while the thread pool writes one, the other is hashed and filled. So
 * memory stays at two pieces whatever the source does, and a source may reuse its own buffers.
 */
class PieceWriter {
  /** Bytes taken so far. */
  total: number;
  private readonly handle: StateFile;
  private readonly hash: Hash;
  private readonly onBytes: (done: number) => void;
  private buffer = Buffer.allocUnsafeSlow(pieceBytes);
  private spare = Buffer.allocUnsafeSlow(pieceBytes);
  private used = 0;
  private writing: Promise<void> = Promise.resolve();

  constructor(handle: StateFile, hash: Hash, offset: number, onBytes: (done: number) => void) {
    this.handle = handle;
    this.hash = hash;
    this.total = offset;
    this.onBytes = onBytes;
  }

  async add(piece: Uint8Array): Promise<void> {
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + this.buffer.length - this.used);
      this.buffer.set(part, this.used);
      this.used += part.length;
      this.total += part.length;
      at += part.length;
      if (this.used === this.buffer.length) await this.flush();
    }
  }

  async end(): Promise<void> {
    await this.flush();
    await this.writing;
  }

  private async flush(): Promise<void> {
    await this.writing;
    if (this.used === 0) return;
    const bytes = this.buffer.subarray(0, this.used);
    this.writing = writeAll(this.handle, bytes, this.total - bytes.length);
    // Awaited at the next flush; until then a failure must not count as unhandled.
    this.writing.catch(() => undefined);
    this.hash.update(bytes);
    [this.buffer, this.spare] = [this.spare, this.buffer];
    this.used = 0;
    this.onBytes(this.total);
  }
}

async function writeAll(handle: StateFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/**
 * Opens the partial file and locks it. Anything in its place that is not a file of ours alone (symbolic or hard
 * link, FIFO) is removed, not followed.
 */
async function openPartial(path: string): Promise<StateFile> {
  const { tryLockExclusive } = await import("../system/libc.ts");
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  // Again when another process finished meanwhile: then what was opened is no longer what the name stands for.
  for (let attempt = 0; attempt < 3; attempt++) {
    const there = await lstat(path).catch(() => undefined);
    if (there !== undefined && !(there.isFile() && there.nlink === 1)) await discard(path);
    const handle = await openFile(path, flags, 0o600);
    try {
      if (!tryLockExclusive(handle.fd)) {
        throw new MosError("busy", `another process is storing ${path}`, { about: path });
      }
      const [mine, named] = [await handle.stat(), await lstat(path).catch(() => undefined)];
      if (named?.ino === mine.ino && mine.isFile() && mine.nlink === 1) return handle;
    } catch (error) {
      await handle.close();
      throw error;
    }
    await handle.close();
  }
  throw new MosError("busy", `somebody keeps replacing ${path}`, { about: path });
}
