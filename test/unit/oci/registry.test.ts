// The pure parts of the registry client: pace of a transfer, list of referrers, and what is shown of an answer.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { defaultLimits } from "../../../src/oci/limits.ts";
import { type Descriptor, mediaTypes, parseIndex } from "../../../src/oci/model.ts";
import { Pace } from "../../../src/oci/pace.ts";
import { addReferrer, referrerDescriptor, referrersTag } from "../../../src/oci/referrers-tag.ts";
import { errorText } from "../../../src/oci/registry-answer.ts";

/** Seconds until a transfer of `bytes` every `ms` is given up; undefined when it goes on for an hour. */
function givenUpAfter(bytes: number, ms: number): number | undefined {
  const pace = new Pace(defaultLimits);
  for (let at = 0; at < 3_600_000; ) {
    const wait = Math.min(ms, pace.patienceMs);
    at += wait;
    const isInTime = pace.waitedFor(wait);
    if (wait < ms || !isInTime) return at / 1000;
    pace.moved(bytes);
  }
  return undefined;
}

describe("a transfer", () => {
  test("of one byte per second is given up after a minute", () => {
    expect(givenUpAfter(1, 1000)).toBe(60);
  });

  test("of nothing at all is given up after half a minute", () => {
    expect(givenUpAfter(1_000_000, 31_000)).toBe(30);
  });

  test("that is slow but steady goes on", () => {
    expect(givenUpAfter(2048, 1000)).toBeUndefined();
    expect(givenUpAfter(64 * 1024, 29_000)).toBeUndefined();
  });

  test("is never given more than the idle time to wait", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(30_000))), (steps) => {
        const pace = new Pace(defaultLimits);
        for (const [bytes, ms] of steps) {
          pace.moved(bytes);
          expect(pace.patienceMs).toBeGreaterThan(0);
          expect(pace.patienceMs).toBeLessThanOrEqual(defaultLimits.idleMs);
          pace.waitedFor(Math.min(ms, pace.patienceMs));
        }
      }),
    );
  });
});

describe("the list of referrers", () => {
  const descriptor = (content: string): Descriptor => ({
    mediaType: mediaTypes.manifest,
    digest: digestOf(content),
    size: content.length,
    artifactType: "a/b",
    annotations: { key: "value" },
  });

  test("is under the tag of the specification", () => {
    expect(referrersTag(digestOf("x"))).toBe(`sha256-${digestOf("x").slice(7)}`);
  });

  test("gets every referrer once, whatever the order and however often", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "b", "c", "d")), (contents) => {
        let index: Uint8Array | undefined;
        for (const content of contents) index = addReferrer(index, descriptor(content)) ?? index;
        const listed = index === undefined ? [] : parseIndex(index, "index").manifests;
        expect(listed).toEqual([...new Set(contents)].map(descriptor));
      }),
    );
  });

  test("keeps what others wrote as it was, also fields that mos does not know", () => {
    const foreign = { ...descriptor("foreign"), platform: { os: "plan9", architecture: "x" }, urls: ["u"] };
    const index = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests: [foreign] }));
    const changed = addReferrer(index, descriptor("mine"));
    expect(JSON.parse(new TextDecoder().decode(changed))).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [foreign, descriptor("mine")],
    });
  });

  test("names the type of the config where a manifest has none of its own", () => {
    const manifest = new TextEncoder().encode(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: "old/type", digest: digestOf("{}"), size: 2 },
        layers: [],
      }),
    );
    expect(referrerDescriptor(manifest, mediaTypes.manifest)).toEqual({
      mediaType: mediaTypes.manifest,
      digest: digestOf(manifest),
      size: manifest.length,
      artifactType: "old/type",
    });
  });
});

describe("an error answer", () => {
  const shown = (text: string) => errorText(new TextEncoder().encode(text));

  test("is shown with the registry's own codes and messages", () => {
    expect(shown('{"errors":[{"code":"DENIED","message":"no"},{"code":"OTHER"}]}')).toBe("DENIED: no; OTHER");
  });

  test("of any bytes is shown short and harmless", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.string({ unit: "binary" }), (bytes, message) => {
        const json = JSON.stringify({ errors: [{ code: "X", message }] });
        for (const text of [errorText(bytes), shown(json)]) {
          expect(text.length).toBeLessThanOrEqual(301);
          expect(text).not.toMatch(/[\p{Cc}\p{Cf}]/u);
        }
      }),
    );
  });
});
