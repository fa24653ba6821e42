import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import {
  emptyLayoutIndex,
  encodeLayoutIndex,
  entriesNamed,
  indexOf,
  parseLayoutIndex,
  withReference,
} from "../../../src/oci/layout-index.ts";
import { type Descriptor, mediaTypes } from "../../../src/oci/model.ts";

function descriptor(content: string): Descriptor {
  return { mediaType: mediaTypes.manifest, digest: digestOf(content), size: content.length };
}

const contents = fc.constantFrom("a", "b", "c", "d");
const names = fc.option(fc.constantFrom("1.0", "1.1", "latest"), { nil: undefined });
const puts = fc.array(fc.tuple(contents, names), { maxLength: 20 });

describe("the index of a layout", () => {
  it("gives each name to the last manifest that got it, and keeps every manifest listed that was not replaced", () => {
    fc.assert(
      fc.property(puts, (sequence) => {
        let index = emptyLayoutIndex;
        const holders = new Map<string, string>();
        for (const [content, name] of sequence) {
          index = withReference(index, {
            descriptor: descriptor(content),
            ...(name === undefined ? {} : { name }),
          });
          if (name !== undefined) holders.set(name, content);
          expect(index.listed.some(({ entry }) => entry.digest === digestOf(content))).toBe(true);
        }
        const again = parseLayoutIndex(encodeLayoutIndex(index), "index.json");
        for (const [name, content] of holders) {
          expect(entriesNamed(again, name).map(({ digest }) => digest)).toEqual([digestOf(content)]);
        }
        const keys = index.listed.map(({ raw }) => JSON.stringify(raw));
        expect(new Set(keys).size).toBe(keys.length);
      }),
    );
  });

  it("does not change when the same is put again", () => {
    fc.assert(
      fc.property(puts, contents, names, (sequence, content, name) => {
        const reference = { descriptor: descriptor(content), ...(name === undefined ? {} : { name }) };
        const once = withReference(
          sequence.reduce(
            (index, [c]) => withReference(index, { descriptor: descriptor(c) }),
            emptyLayoutIndex,
          ),
          reference,
        );
        expect(encodeLayoutIndex(withReference(once, reference))).toEqual(encodeLayoutIndex(once));
      }),
    );
  });

  it("keeps fields of other programs' entries that mos does not know", () => {
    const theirs = {
      ...descriptor("theirs"),
      platform: { architecture: "arm64", os: "linux", variant: "v8" },
      "org.example.unknown": [1, 2],
    };
    const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, manifests: [theirs] }));
    const index = withReference(parseLayoutIndex(bytes, "index.json"), {
      descriptor: descriptor("ours"),
      name: "1",
    });
    const document: unknown = JSON.parse(new TextDecoder().decode(encodeLayoutIndex(index)));
    expect(document).toMatchObject({ manifests: [theirs, { digest: digestOf("ours") }] });
  });

  it("can be made anew of exactly the given references", () => {
    const index = indexOf([{ descriptor: descriptor("a"), name: "x" }, { descriptor: descriptor("b") }]);
    expect(index.listed.map(({ entry }) => [entry.digest, entry.annotations])).toEqual([
      [digestOf("a"), { "org.opencontainers.image.ref.name": "x" }],
      [digestOf("b"), undefined],
    ]);
  });

  it("that is malformed is refused", () => {
    for (const text of ["", "[]", "{}", '{"schemaVersion":2}', '{"schemaVersion":2,"manifests":{}}']) {
      expect(() => parseLayoutIndex(new TextEncoder().encode(text), "index.json")).toThrow(
        expect.objectContaining({ code: "document-invalid" }),
      );
    }
  });
});
