// The artifacts of seed 004, made by the published tools, verify; nothing near them does. They carry no licence
// and are not in this repository: the tests run where the vectors lie beside the checkout.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type TrustRoot, verifySignedManifest } from "../../../src/trust/manifest-signature.ts";
import { codeOf } from "./authority.ts";
import { rootOfFile } from "./roots.ts";

const seed = join(import.meta.dirname, "../../../../shared/vectors/seed004");
const blob = (digest: string) => readFile(join(seed, "oci-layout/blobs/sha256", digest));

describe.skipIf(!existsSync(seed))("the manifest of seed 004", () => {
  let manifest: Uint8Array;
  let signature: Uint8Array;
  let certificates: Uint8Array;
  let root: TrustRoot;

  beforeAll(async () => {
    manifest = await blob("50a93be19bf1027b8363554359e288890324fa7e21002df072e50955e8336954");
    signature = await blob("313ac3c232b47ead121c3ed0a3a0e38f9768d57cfa5a4c76649f2d51dc73efd9");
    certificates = await blob("136d70873171b931a0e0002fbb31589786038f9419a687f9a47e77b423ba6911");
    root = await rootOfFile(join(seed, "manifestCA.pem"));
  });

  const verify = (change: { manifest?: Uint8Array; signature?: Uint8Array; year?: number } = {}) =>
    verifySignedManifest(
      change.manifest ?? manifest,
      { signature: change.signature ?? signature, certificates },
      root,
      {
        kind: "at",
        date: new Date(`${change.year ?? 2026}-01-01T00:00:00Z`),
        source: "the system clock",
      },
    );

  test("chains to its manifest CA", () => {
    expect(verify()).toMatchObject({
      commonName: "manifest PRODUCT:bc564363-2a8e-44fe-bb0e-54c7f9988ecf",
      algorithm: "rsa-pkcs1v15-sha256",
      anchor: { subject: "O=Cisco, OU=PuzzleOS Machine Project snakeoil, CN=Manifest rootCA" },
    });
  });

  test("is bound to the time of its certificate", () => {
    expect(codeOf(() => verify({ year: 2022 }))).toBe("certificate-not-yet-valid");
    expect(codeOf(() => verify({ year: 2044 }))).toBe("certificate-expired");
  });

  test("is refused with any byte changed", () => {
    for (let at = 0; at < manifest.length; at++) {
      const changed = Buffer.from(manifest);
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at & 7)), at);
      expect(codeOf(() => verify({ manifest: changed }))).toBe("signature-invalid");
    }
  });

  test("is not signed over its OCI manifest, as an old description has it", async () => {
    const oci = await blob("d63dbe48800f04a141f414e30f2d3b00b61d00e50d4b3ceaf0fc8e7e4953de13");
    expect(codeOf(() => verify({ manifest: oci }))).toBe("signature-invalid");
  });
});
