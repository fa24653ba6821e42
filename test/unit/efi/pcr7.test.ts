import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { foldPcr } from "../../../src/efi/bank.ts";
import { guids, parseGuid } from "../../../src/efi/guid.ts";
import { encodeVariableData, separatorDigest, sha256 } from "../../../src/efi/measured.ts";
import { directDigests, ovmfDbx, pcr7Of, shimDigests } from "../../../src/efi/pcr7.ts";
import { vectorsFile } from "../../support.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const path = vectorsFile("tpm-vectors.json");

interface Vectors {
  readonly pcr7_snakeoil: {
    readonly events_in_order: readonly { readonly name: string; readonly digest: string }[];
    readonly pcr7_before_uki: string;
    readonly uki: Readonly<Record<string, string>>;
  };
}

const owned = (seed: number) => ({
  owner: parseGuid("11111111-2222-3333-4444-555566667777"),
  der: new Uint8Array(900).fill(seed),
});
const databases = { pk: [owned(1)], kek: [owned(2)], db: [owned(3)], dbx: ovmfDbx };

describe.skipIf(!existsSync(path))("PCR 7 of the published system", () => {
  const { pcr7_snakeoil: vectors }: Vectors = JSON.parse(
    existsSync(path) ? readFileSync(path, "utf8") : "{}",
  );
  const published = new Map(vectors.events_in_order.map(({ name, digest }) => [name, digest]));
  const ours = shimDigests(databases, owned(3), new Uint8Array(1)).map(hex);

  test("begins with the value that its events give", () => {
    const digests = vectors.events_in_order.map(({ digest }) => Buffer.from(digest, "hex"));
    expect(hex(foldPcr("sha256", digests))).toBe(vectors.pcr7_before_uki);
  });

  test.each([
    [0, "SecureBoot"],
    [4, "dbx"],
    [5, "separator"],
    [7, "SbatLevel"],
    [8, "MokListTrusted"],
  ])("has event %i, %s, as here", (index, name) => {
    expect(ours[index]).toBe(published.get(name));
  });

  test("has as many events as here, and then the one of the UKI's signer", () => {
    expect(ours).toHaveLength(vectors.events_in_order.length + 1);
  });
});

describe("PCR 7", () => {
  test("depends on every key and on its owner", () => {
    const before = pcr7Of(directDigests(databases, owned(3)));
    const changed = [
      { ...databases, pk: [owned(9)] },
      { ...databases, kek: [owned(9)] },
      { ...databases, db: [owned(3), owned(9)] },
      { ...databases, dbx: new Uint8Array(76) },
      { ...databases, db: [{ ...owned(3), owner: guids.zero }] },
    ].map((other) => pcr7Of(directDigests(other, owned(3))));
    expect(new Set([before, ...changed, pcr7Of(directDigests(databases, owned(9)))]).size).toBe(7);
  });

  test("differs by the role of the UKI on the way over shim", () => {
    const values = [1, 2, 3].map((seed) => pcr7Of(shimDigests(databases, owned(3), owned(seed).der)));
    expect(new Set(values).size).toBe(3);
  });

  test("measures a variable as GUID, lengths, name and data", () => {
    const bytes = encodeVariableData({ name: "db", guid: guids.imageSecurity, data: Uint8Array.of(7) });
    expect(hex(bytes)).toBe(
      "cbb219d73a3d9645a3bcdad00e67656f" + "0200000000000000" + "0100000000000000" + "64006200" + "07",
    );
  });

  test("is extended by hashing what it was with the digest", () => {
    const digest = sha256(new Uint8Array(4));
    expect(hex(digest)).toBe(hex(separatorDigest));
    const expected = createHash("sha256").update(new Uint8Array(32)).update(digest).digest("hex");
    expect(hex(foldPcr("sha256", [digest]))).toBe(expected);
  });
});
