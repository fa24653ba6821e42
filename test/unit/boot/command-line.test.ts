// What the kernel's command line says of the root that a system was started from.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  isRootOf,
  isStartedBy,
  mostRootLayers,
  namedRoot,
  rootIdentity,
  type StoredLayer,
  storedRootCommandLine,
} from "../../../src/boot/command-line.ts";
import { checkPair } from "../../../src/boot/pair.ts";
import { digestFromHex, digestOf } from "../../../src/oci/digest.ts";

const digest = digestOf(Buffer.from("a layer"));
const other = digestOf(Buffer.from("another layer"));
const rootHash = "5".repeat(64);
const lowest: StoredLayer = { digest, rootHash, hashOffset: 8192, kind: "erofs" };
const line = storedRootCommandLine([lowest]);
const upper: StoredLayer = { digest: other, rootHash: "6".repeat(64), hashOffset: 4096, kind: "squashfs" };
const both = storedRootCommandLine([lowest, upper]);

const hex64 = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 64, maxLength: 64 });
const anyLayers: fc.Arbitrary<StoredLayer[]> = fc.array(
  fc.record({
    digest: hex64.map(digestFromHex),
    rootHash: hex64,
    hashOffset: fc.nat().map((blocks) => blocks * 4096),
    kind: fc.constantFrom("erofs" as const, "squashfs" as const),
  }),
  { minLength: 1, maxLength: mostRootLayers },
);

describe("a command line", () => {
  test("names a root in the store by its digest and its root hash", () => {
    expect(namedRoot(line)).toEqual({ rootHashes: [rootHash], stored: [{ digest, rootHash }] });
    // As devices and kernel images in the field have it.
    expect(line).toBe(
      `roothash=${rootHash} systemd.verity=no mos.hostfs=${digest} mos.hostfs-offset=8192 root=/dev/mapper/root ro rootfstype=erofs systemd.volatile=overlay`,
    );
  });

  test("names each further layer of a root, the lower first", () => {
    expect(namedRoot(both)?.stored).toEqual([
      { digest, rootHash },
      { digest: other, rootHash: upper.rootHash },
    ]);
    expect(both).toContain(` mos.hostfs-layer=${other},4096,${upper.rootHash},squashfs root=`);
    fc.assert(
      fc.property(anyLayers, (layers) => {
        const { stored, rootHashes } =
          namedRoot(`quiet ${storedRootCommandLine(layers)} console=ttyS0`) ?? {};
        expect(stored).toEqual(layers.map((one) => ({ digest: one.digest, rootHash: one.rootHash })));
        expect(rootHashes).toEqual(layers.map((one) => one.rootHash));
      }),
    );
  });

  test("is short enough for the kernel with as many layers as there may be, and names no more", () => {
    const many = Array<StoredLayer>(mostRootLayers).fill({ ...upper, hashOffset: 2 ** 36 });
    expect(storedRootCommandLine(many).length).toBeLessThan(1800);
    expect(() => storedRootCommandLine([...many, upper])).toThrow(
      expect.objectContaining({ code: "layer-unsupported" }),
    );
    const word = both.split(" ").find((one) => one.startsWith("mos.hostfs-layer=")) ?? "";
    expect(namedRoot([line, ...Array<string>(mostRootLayers).fill(word)].join(" "))).toBeUndefined();
  });

  test("says which root it is by all of its layers, in their order", () => {
    const root = namedRoot(both);
    if (root === undefined) expect.fail();
    expect(isRootOf(root, [lowest, upper])).toBe(true);
    for (const others of [[lowest], [upper, lowest], [lowest, upper, upper], undefined])
      expect(isRootOf(root, others)).toBe(false);
    expect(rootIdentity([lowest, upper])).not.toBe(rootIdentity([upper, lowest]));
    expect(rootIdentity([lowest, upper])).toBe(rootIdentity(root.stored ?? []));
  });

  test("names a root in a partition by its root hash alone", () => {
    expect(namedRoot(`roothash=${rootHash} root=/dev/mapper/root ro`)).toEqual({
      rootHashes: [rootHash],
      stored: undefined,
    });
  });

  test.each([
    ["", "nothing"],
    ["root=/dev/vda1 rw", "no root hash"],
    ["roothash=1234", "a root hash that is too short"],
    [line.replace("mos.hostfs=sha256:", "mos.hostfs=md5:"), "another digest"],
    [both.replace("mos.hostfs=", "mos.other="), "a layer above none of the store"],
    [both.replace(`${other},`, ""), "a layer without a digest"],
    [both.replace(",4096,", ",0x1000,"), "a layer with another offset"],
    [both.replace("6".repeat(64), "6".repeat(63)), "a layer with a root hash that is too short"],
    [both.replace(",squashfs", ",ext4"), "a layer of another kind"],
    [both.replace(",squashfs", ",squashfs,"), "a layer of which more is said"],
  ])("%o names none (%s)", (text) => expect(namedRoot(text)).toBeUndefined());

  test("is known by all of its words, and no others", () => {
    expect(isStartedBy(`${line.replaceAll(" ", "  ")}\n`, line)).toBe(true);
    expect(isStartedBy(`${line} rdinit=/nowhere`, line)).toBe(false);
    expect(isStartedBy(line, `${line} quiet`)).toBe(false);
    expect(isStartedBy(`quiet ${line}`, line)).toBe(false);
    expect(isStartedBy(line, " ")).toBe(false);
  });

  test("is never more than it says, whatever it is", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(() => namedRoot(a)).not.toThrow();
        if (isStartedBy(a, b)) expect(namedRoot(b) === undefined || a.includes("roothash=")).toBe(true);
      }),
    );
  });
});

describe("a kernel image and a root", () => {
  test("belong together by digest and root hash", () => {
    expect(() => checkPair(line, [{ digest, rootHash }])).not.toThrow();
    expect(() => checkPair(both, [lowest, upper])).not.toThrow();
  });

  test.each([
    [line, [{ digest: other, rootHash }], other, "another layer"],
    [line, [{ digest, rootHash: "6".repeat(64) }], digest, "another root hash"],
    [line, [lowest, upper], other, "a layer that the kernel image does not name"],
    [both, [lowest], other, "a layer that the root does not have"],
    [both, [upper, lowest], other, "another order"],
    [both, [lowest, { ...upper, rootHash }], other, "another root hash of the upper layer"],
  ])("are refused otherwise, by the layer's name (%#)", (commandLine, layers, about, _what) => {
    expect(() => checkPair(commandLine, layers)).toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch", about }),
    );
  });

  test("that do not belong together are told apart at whichever layer it is", () => {
    fc.assert(
      fc.property(anyLayers, fc.nat(), hex64, (layers, at, hex) => {
        const commandLine = storedRootCommandLine(layers);
        checkPair(commandLine, layers);
        const i = at % layers.length;
        const changed = layers.map((layer, j) =>
          i === j ? { ...layer, digest: digestFromHex(hex) } : layer,
        );
        expect(() => checkPair(commandLine, changed)).toThrow(
          expect.objectContaining({ code: "boot-pair-mismatch", about: `sha256:${hex}` }),
        );
      }),
    );
  });

  test("are refused when the image names no root of the store", () => {
    expect(() => checkPair(`roothash=${rootHash}`, [{ digest, rootHash }])).toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch" }),
    );
  });
});
