// A layout on a real disk, one blob, and a source for it that can fail in every way a network can.
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { digestOf, hexOf } from "../../../src/oci/digest.ts";
import { Layout } from "../../../src/oci/layout.ts";
import type { Descriptor } from "../../../src/oci/model.ts";
import type { Repository } from "../../../src/oci/source.ts";
import { temporaryDirectory } from "../../support.ts";

export const content = randomBytes(3_500_000);
export const descriptor: Descriptor = {
  mediaType: "application/x-test",
  digest: digestOf(content),
  size: content.length,
};

export function refused(code: string) {
  return expect.objectContaining({ code });
}

/** A repository of one blob, whose bytes the test gives. */
export class Source implements Repository {
  readonly name = "source";
  readonly offsets: number[] = [];
  private readonly pieces: (offset: number) => AsyncIterable<Uint8Array>;

  constructor(pieces: (offset: number) => AsyncIterable<Uint8Array>) {
    this.pieces = pieces;
  }

  blob(_: Descriptor, offset = 0): AsyncIterable<Uint8Array> {
    this.offsets.push(offset);
    return this.pieces(offset);
  }

  async blobRange(): Promise<never> {
    throw new MosError("not-found", "no parts here");
  }

  async manifest(): Promise<never> {
    throw new MosError("not-found", "no manifests here");
  }

  async referrers(): Promise<never[]> {
    return [];
  }

  async smallBlob(): Promise<never> {
    throw new MosError("not-found", "no small blobs here");
  }
}

/** Pieces of odd sizes, in one buffer that is used again and again. */
export async function* inPieces(bytes: Uint8Array, pieceBytes = 70_001): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(pieceBytes);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const part = bytes.subarray(at, at + pieceBytes);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
  }
}

export const whole = () => new Source((offset) => inPieces(content.subarray(offset)));

export async function* brokenAfter(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield* inPieces(bytes);
  throw new MosError("registry-unreachable", "the connection was reset");
}

export async function newLayout(): Promise<{ layout: Layout; path: string; partial: string }> {
  const path = join(await temporaryDirectory(), "store");
  return {
    layout: await Layout.create(path),
    path,
    partial: join(path, `.partial-${hexOf(descriptor.digest)}`),
  };
}

export async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

export async function stored(layout: Layout): Promise<boolean> {
  return (
    (await layout.hasBlob(descriptor)) && (await readFile(layout.blobPath(descriptor.digest))).equals(content)
  );
}

/** What must be there after a blob was refused: nothing. */
export async function expectNothingLeft(path: string): Promise<void> {
  expect((await readdir(path)).sort()).toEqual(["blobs", "index.json", "oci-layout"]);
  expect(await readdir(join(path, "blobs/sha256"))).toEqual([]);
}
