// Members of layers and of volumes: what is written is read as it was, and no archive makes a reader do anything but refuse.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LayerMember, readLayerTar } from "../../../src/archives/layer-tar.ts";
import { mapOwners } from "../../../src/archives/tar-owners.ts";
import { tarEnd, tarMember, tarPadding } from "../../../src/archives/tar-write.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { paxRecord, tarOf } from "./tar-maker.ts";

async function* pieces(bytes: Buffer, length = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function read(bytes: Buffer): Promise<{ member: LayerMember; content: string }[]> {
  const found: { member: LayerMember; content: string }[] = [];
  await readLayerTar(pieces(bytes), 2 ** 30, async (member, content) => {
    const parts: Buffer[] = [];
    for await (const piece of content) parts.push(Buffer.from(piece));
    found.push({ member, content: Buffer.concat(parts).toString("latin1") });
  });
  return found;
}

async function mapped(bytes: Buffer, idOf: (id: number) => number | undefined): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of mapOwners(pieces(bytes), 2 ** 30, idOf)) parts.push(Buffer.from(piece));
  return Buffer.concat(parts);
}

const name = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 60 })
  .filter((text) => !/[/\0]/.test(text) && text !== "." && text !== ".." && Buffer.byteLength(text) <= 255);
const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((names) => names.join("/"));
const id = fc.oneof(fc.nat(70_000), fc.nat(2 ** 31 - 1));
const xattrs = fc
  .dictionary(fc.constantFrom("user.a", "user.b", "security.capability"), fc.uint8Array({ maxLength: 300 }))
  .map((values) => new Map(Object.entries(values).map(([key, value]) => [key, Buffer.from(value)])));

const member: fc.Arbitrary<{ member: LayerMember; content: string }> = fc
  .record({
    type: fc.constantFrom("file", "directory", "symlink", "hardlink", "char", "fifo"),
    ...{ path, target: path, mode: fc.nat(0o7777), uid: id, gid: id, xattrs, mtime: fc.nat(2 ** 32 - 1) },
    content: fc.string({ maxLength: 1500 }).map((text) => Buffer.from(text).toString("latin1")),
  })
  .map(({ content, ...rest }) => {
    const isLink = rest.type === "symlink" || rest.type === "hardlink";
    const kept = rest.type === "file" ? content : "";
    const device = rest.type === "char" ? { major: 1, minor: 3 } : { major: 0, minor: 0 };
    return {
      member: {
        ...rest,
        ...device,
        target: isLink ? rest.target : "",
        size: Buffer.from(kept, "latin1").length,
      },
      content: kept,
    };
  });

function archive(members: readonly { member: LayerMember; content: string }[]): Buffer {
  const parts = members.flatMap((one) => [
    tarMember(one.member),
    Buffer.from(one.content, "latin1"),
    ...(one.member.type === "file" ? [tarPadding(one.member.size)] : []),
  ]);
  return Buffer.concat([...parts, tarEnd]);
}

describe("a tar archive of members with everything", () => {
  it("is read as it was written", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 8 }), async (members) => {
        expect(await read(archive(members))).toEqual(members);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ["1.5", 1],
    ["-3.2", 0],
    ["99999999999", 2 ** 32 - 1],
    ["soon", 0],
  ])("has the nearest time that a layer can hold: %s", async (text, mtime) => {
    const bytes = tarOf([{ path: "x", type: "x", content: paxRecord("mtime", text) }, { path: "y" }]);
    expect((await read(bytes))[0]?.member.mtime).toBe(mtime);
  });

  it("has other owners, and nothing else is different, when they are mapped; and is itself when they are mapped back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 8 }), fc.nat(2 ** 20), async (members, first) => {
        const there = await mapped(archive(members), (one) => one + first);
        const moved = members.map(({ member: { uid, gid, ...rest }, content }) => ({
          member: { ...rest, uid: uid + first, gid: gid + first },
          content,
        }));
        expect(await read(there)).toEqual(moved);
        expect(await read(await mapped(there, (one) => one - first))).toEqual(members);
      }),
      { numRuns: 60 },
    );
  });

  // The program that writes it ends when all of that was read, and somebody waits for its end.
  it("is read on when its members have ended: what fills its last record comes later", async () => {
    let isRead = false;
    async function* slowly(): AsyncGenerator<Uint8Array> {
      yield tarOf([{ path: "file", content: "x" }]);
      yield Buffer.alloc(4096);
      yield Buffer.alloc(4096);
      isRead = true;
    }
    await readLayerTar(slowly(), 2 ** 30, () => Promise.resolve());
    expect(isRead).toBe(true);
    isRead = false;
    for await (const _ of mapOwners(slowly(), 2 ** 30, (same) => same));
    expect(isRead).toBe(true);
    await expect(readLayerTar(slowly(), 8000, () => Promise.resolve())).rejects.toThrow("more than 8000");
  });

  it("with an owner who is nobody there is refused", async () => {
    await expect(mapped(tarOf([{ path: "x" }]), () => undefined)).rejects.toMatchObject({
      code: "archive-refused",
    });
  });

  it("that is damaged anywhere is read in another way or refused, and nothing else happens (A10)", async () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(member, { minLength: 1, maxLength: 4 }),
        flips,
        fc.nat(),
        async (members, changes, cut) => {
          const bytes = archive(members);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const shorter = bytes.subarray(0, bytes.length - (cut % 3) * 300);
          for (const work of [read(shorter), mapped(shorter, (one) => one)]) {
            const code = await work.then(
              () => "archive-refused",
              (error: unknown) => (error instanceof MosError ? error.code : `${error}`),
            );
            expect(code).toBe("archive-refused");
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
