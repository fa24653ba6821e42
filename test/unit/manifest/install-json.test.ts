import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { encodeInstallManifest, parseInstallManifest } from "../../../src/manifest/install-json.ts";
import { sampleManifest, sampleTarget } from "../../samples.ts";

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function bytes(document: unknown): Uint8Array {
  return new TextEncoder().encode(typeof document === "string" ? document : JSON.stringify(document));
}

function codeOf(content: Uint8Array): string {
  try {
    parseInstallManifest(content);
  } catch (error) {
    if (error instanceof MosError) return error.code;
    throw error;
  }
  return "accepted";
}

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_-]{0,20}$/);
const line = fc.string({ minLength: 1, maxLength: 30 }).filter((s) => s.isWellFormed() && !/\p{Cc}/u.test(s));
const manifests = fc
  .uniqueArray(name, { minLength: 1, maxLength: 6 })
  .chain((names) =>
    fc.tuple(
      line,
      fc.tuple(
        ...names.map((service_name) =>
          fc.record({ version: line, nsgroup: name }).map((c) => sampleTarget({ ...c, service_name })),
        ),
      ),
    ),
  )
  .map(([product, targets]) => sampleManifest({ product, targets }));

describe("install.json", () => {
  it("is read back as what was written", () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(parseInstallManifest(encodeInstallManifest(manifest))).toEqual(manifest);
      }),
    );
  });

  it.each([
    { percent: 5 },
    { percent: 0, from: "2027-03-01T08:00:00Z" },
    { percent: 10, from: "2027-03-01T08:00:00Z", over: 72 },
  ])("keeps a rollout: %o", (rollout) => {
    const manifest = sampleManifest({ release: { serial: 1, epoch: 0, rollout } });
    expect(parseInstallManifest(encodeInstallManifest(manifest))).toEqual(manifest);
  });

  it("escapes what Go's encoder escapes", () => {
    const encoded = text(encodeInstallManifest(sampleManifest({ product: "a<b>&c" })));
    expect(encoded).toContain('"product":"a\\u003cb\\u003e\\u0026c"');
  });

  it("accepts absent and null lists, as older and newer writers leave them", () => {
    const document = JSON.parse(text(encodeInstallManifest(sampleManifest())));
    document.storage = null;
    document.targets[0].storage = null;
    document.targets[0].network.ports = null;
    expect(codeOf(bytes(document))).toBe("accepted");
  });

  it.each([
    ["an unknown key", { extra: 1 }],
    ["another version", { version: 2 }],
    ["a missing product", { product: undefined }],
    ["an unknown update type", { update_type: "some" }],
    ["no list of targets", { targets: {} }],
  ])("is refused with %s", (_what, change) => {
    const document = { ...JSON.parse(text(encodeInstallManifest(sampleManifest()))), ...change };
    expect(codeOf(bytes(document))).toBe("manifest-refused");
  });

  it.each([
    ["an unknown service type", { service_type: "virtual-machine" }],
    ["a digest of another algorithm", { digest: `sha512:${"0".repeat(128)}` }],
    ["a digest with upper-case digits", { digest: `sha256:${"A".repeat(64)}` }],
    // Attack A20.
    ["a negative size", { size: -1 }],
    ["a size that is no whole number", { size: 1.5 }],
    ["a name that leaves its directory", { service_name: "../../etc" }],
  ])("is refused with %s in a target", (_what, change) => {
    const document = JSON.parse(text(encodeInstallManifest(sampleManifest())));
    Object.assign(document.targets[0], change);
    expect(codeOf(bytes(document))).toBe("manifest-refused");
  });

  it("throws nothing but named errors, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(bytes)), (content) => {
        expect(["document-invalid", "manifest-refused"]).toContain(codeOf(content));
      }),
    );
  });
});
