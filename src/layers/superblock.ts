// The superblock of the filesystem in a layer file: which one it is, and where it ends, because there the verity
// tree begins. Pure. The numbers are not yet verified when they are read, so they are only believed within bounds.
import { MosError } from "../errors/mos-error.ts";

/** Bytes of a layer's beginning that {@link parseSuperblock} needs. */
export const superblockBytes = 4096;

/** Block of the layer format: filesystem and tree are aligned to it, whatever machine built it. */
export const blockBytes = 4096;

export type FilesystemKind = "squashfs" | "erofs";

export interface Superblock {
  readonly kind: FilesystemKind;
  /** Bytes that the filesystem says it has. */
  readonly size: number;
  /** Where the verity superblock must be: `size`, rounded up to a block. */
  readonly hashOffset: number;
}

// squashfs 4.0, Documentation/filesystems/squashfs.rst and struct squashfs_super_block of the kernel.
const squashfs = { magic: 0x73717368, major: 28, minor: 30, bytesUsed: 40, headerBytes: 96 } as const;
// EROFS, struct erofs_super_block of the kernel, which is 1024 bytes into the image.
const erofs = { at: 1024, magic: 0xe0f5e1e2, blockBits: 12, blocks: 36, headerBytes: 128 } as const;

function unsupported(what: string, about: string): MosError {
  return new MosError("layer-unsupported", `cannot open the layer ${about}: ${what}`, { about });
}

/**
 * Finds out what filesystem a layer file holds, and how long it is.
 * @param head the first {@link superblockBytes} bytes of the file, or all of it when it is shorter
 * @param fileSize bytes of the whole file
 * @param about the layer, for messages
 * @throws MosError `layer-unsupported`
 */
export function parseSuperblock(head: Uint8Array, fileSize: number, about: string): Superblock {
  if (head.length < superblockBytes) throw unsupported(`it has only ${head.length} bytes`, about);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const isSquashfs = view.getUint32(0, true) === squashfs.magic;
  const isErofs = view.getUint32(erofs.at, true) === erofs.magic;
  if (isSquashfs && isErofs) throw unsupported("it is squashfs and EROFS at once", about);
  if (isSquashfs) return bounded("squashfs", squashfsSize(view, about), fileSize, about);
  if (isErofs) return bounded("erofs", erofsSize(view, about), fileSize, about);
  throw unsupported("it is neither squashfs nor EROFS", about);
}

function squashfsSize(view: DataView, about: string): bigint {
  const version = `${view.getUint16(squashfs.major, true)}.${view.getUint16(squashfs.minor, true)}`;
  if (version !== "4.0") throw unsupported(`it is squashfs of version ${version}, not 4.0`, about);
  const size = view.getBigUint64(squashfs.bytesUsed, true);
  if (size < squashfs.headerBytes) throw unsupported("its squashfs superblock says it is empty", about);
  return size;
}

function erofsSize(view: DataView, about: string): bigint {
  const bits = view.getUint8(erofs.at + erofs.blockBits);
  // 512 bytes to 64 KiB; the kernel mounts nothing larger than a page.
  if (bits < 9 || bits > 16) throw unsupported(`its EROFS blocks have 2^${bits} bytes`, about);
  const size = BigInt(view.getUint32(erofs.at + erofs.blocks, true)) << BigInt(bits);
  if (size < erofs.at + erofs.headerBytes) throw unsupported("its EROFS superblock says it is empty", about);
  return size;
}

function bounded(kind: FilesystemKind, size: bigint, fileSize: number, about: string): Superblock {
  if (size > BigInt(fileSize)) {
    throw unsupported(`its ${kind} needs ${size} bytes, but the file has ${fileSize}`, about);
  }
  const bytes = Number(size);
  return { kind, size: bytes, hashOffset: Math.ceil(bytes / blockBytes) * blockBytes };
}
