import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import {
  formatReference,
  onlyTag,
  parseDestination,
  parseReference,
  type Reference,
} from "../../../src/oci/reference.ts";

const hex = "0123456789abcdef".repeat(4);
const digest = `sha256:${hex}`;

const registry = (scheme: string, authority: string, repository: string, reference: string) => ({
  kind: "registry",
  scheme,
  authority,
  repository,
  reference,
});

describe("a reference is understood", () => {
  test.each([
    ["registry.example/mos:1.0.0", registry("https", "registry.example", "mos", "1.0.0")],
    ["docker://registry.example/a/b-c:latest", registry("https", "registry.example", "a/b-c", "latest")],
    ["http://build:5000/a:1", registry("http", "build:5000", "a", "1")],
    ["https://build/a:1", registry("https", "build", "a", "1")],
    ["10.0.2.2:5000/machine/install:1.0.0", registry("https", "10.0.2.2:5000", "machine/install", "1.0.0")],
    ["localhost/a:1", registry("http", "localhost", "a", "1")],
    ["127.1.2.3:80/a:1", registry("http", "127.1.2.3:80", "a", "1")],
    ["[::1]:5000/a:1", registry("http", "[::1]:5000", "a", "1")],
    ["[2001:DB8::1]/a:1", registry("https", "[2001:db8::1]", "a", "1")],
    ["https://localhost:5000/a:1", registry("https", "localhost:5000", "a", "1")],
    [
      "Registry.Example:443/a__b/c---d.e_f:_T-1.x",
      registry("https", "registry.example:443", "a__b/c---d.e_f", "_T-1.x"),
    ],
    [`registry.example/mos@${digest}`, registry("https", "registry.example", "mos", digest)],
    [
      `registry.example/mos:${"t".repeat(128)}`,
      registry("https", "registry.example", "mos", "t".repeat(128)),
    ],
    ["oci:/media/usb/zot:1.0.0", { kind: "oci", directory: "/media/usb/zot", reference: "1.0.0" }],
    ["oci:a dir:with colon:1", { kind: "oci", directory: "a dir:with colon", reference: "1" }],
    [
      "oci-archive:/media/usb/update.tar:1.0.0",
      { kind: "oci-archive", file: "/media/usb/update.tar", reference: "1.0.0" },
    ],
    [
      "oci-archive:/media/usb/update.tar",
      { kind: "oci-archive", file: "/media/usb/update.tar", reference: onlyTag },
    ],
    ["oci-archive:a:b/c.tar", { kind: "oci-archive", file: "a:b/c.tar", reference: onlyTag }],
    [`oci-archive:c.tar@${digest}`, { kind: "oci-archive", file: "c.tar", reference: digest }],
    [`oci:dir@${digest}`, { kind: "oci", directory: "dir", reference: digest }],
  ])("%s", (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
  });
});

describe("a wrong reference is refused, and the message names the part", () => {
  test.each([
    ["", /no '\/'/],
    ["oci-archive:", /no file/],
    ["oci-archive::1", /no file/],
    ["oci-archive:a.tar:", /no tag/],
    ["oci-archive:a.tar:a b", /tag/],
    ["oci-archive:a.tar@sha256:12", /sha256/],
    ["registry.example", /no '\/'/],
    ["registry.example/mos", /no tag/],
    ["registry.example:5000/mos", /no tag/],
    ["registry.example/:1", /no path/],
    ["/mos:1", /no host/],
    ["alpine/git:1", /does not look like a registry/],
    ["docker://alpine/git:1", /does not look like a registry/],
    ["registry.example/Mos:1", /part "Mos"/],
    ["registry.example/a//b:1", /part ""/],
    ["registry.example/../etc:1", /part ".."/],
    ["registry.example/a___b:1", /part "a___b"/],
    ["registry.example/a-:1", /part "a-"/],
    [`registry.example/${"a".repeat(256)}:1`, /longer than 255/],
    ["registry.example/mos:-1", /tag/],
    ["registry.example/mos:a b", /tag "a b"/],
    [`registry.example/mos:${"t".repeat(129)}`, /tag/],
    ["registry.example/mos@sha256:abc", /64 lower-case hex digits/],
    [`registry.example/mos@sha256:${hex.toUpperCase()}`, /64 lower-case hex digits/],
    [`registry.example/mos@sha512:${hex}`, /part "mos@sha512"/],
    [`registry.example/mos:1@${digest}`, /part "mos:1"/],
    ["registry.example:0/mos:1", /port "0"/],
    ["registry.example:65536/mos:1", /port "65536"/],
    ["registry.example:/mos:1", /port ""/],
    ["registry.example:080/mos:1", /port/],
    ["-registry.example/mos:1", /host/],
    ["registry..example/mos:1", /host/],
    ["registry_1.example/mos:1", /host/],
    ["127.1:80/mos:1", /IPv4/],
    ["256.0.0.1/mos:1", /IPv4/],
    ["0x7f.1/mos:1", /IPv4/],
    ["[::1/mos:1", /host/],
    ["[12345::]/mos:1", /IPv6/],
    ["[fe80::1%eth0]/mos:1", /host/],
    ["user:secret@registry.example/mos:1", /port/],
    ["ftp://registry.example/mos:1", /ftp/],
    ["docker://http://registry.example/mos:1", /host|port/],
    ["registry.example/mos:1\n", /control characters/],
    ["registry.example/mos:1\u0000", /control characters/],
    [`oci:${"d".repeat(4096)}:1`, /4095/],
    ["a".repeat(1_000_000), /limit/],
    ["oci:", /no tag/],
    ["oci:dir", /no tag/],
    ["oci::1", /no directory/],
    ["oci:dir:", /no tag/],
    ["oci:C:/dir", /no tag/],
  ])("%.60s", (text, message) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: "reference-invalid", message: expect.stringMatching(message) }),
    );
  });
});

const label = fc
  .stringMatching(/^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$/)
  .filter((text) => !/^(\d+|0x.*)$/.test(text));
const host = fc.oneof(
  fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join(".")),
  fc.ipV4(),
  fc.ipV6().map((address) => `[${address.toLowerCase()}]`),
);
const authority = fc
  .tuple(host, fc.option(fc.integer({ min: 1, max: 65_535 })))
  .map(([name, port]) => (port === null ? name : `${name}:${port}`));
const repository = fc
  .array(
    fc.stringMatching(/^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/).filter((text) => text.length < 40),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map((parts) => parts.join("/"));
const tag = fc.stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,30}$/);
const tagOrDigest = fc.oneof(
  tag,
  fc.stringMatching(/^[0-9a-f]{64}$/).map((digits) => `sha256:${digits}`),
);
const directory = fc
  .string({ minLength: 1, unit: "grapheme" })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are refused
  .filter((text) => !/[\u0000-\u001f\u007f]|@sha256$/.test(text));
const reference: fc.Arbitrary<Reference> = fc.oneof(
  fc.record({
    kind: fc.constant("registry" as const),
    scheme: fc.constantFrom("http" as const, "https" as const),
    authority,
    repository,
    reference: tagOrDigest,
  }),
  fc.record({ kind: fc.constant("oci" as const), directory, reference: tagOrDigest }),
);

test("whatever is written from a reference is read as the same reference", () => {
  fc.assert(
    fc.property(reference, (value) => {
      expect(parseReference(formatReference(value))).toEqual(value);
    }),
  );
});

test("no text whatever does more than be refused", () => {
  const pieces = fc.constantFrom(
    "oci:",
    "docker://",
    "http://",
    "/",
    ":",
    "@",
    "sha256:",
    hex,
    "[",
    "]",
    "::",
    "..",
    "a",
    "5000",
    "é",
    "\u202e",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(pieces).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, text, (one, other) => {
      for (const parse of [() => parseReference(one), () => parseDestination(one, other)]) {
        try {
          const parsed = parse();
          expect(parseReference(formatReference(parsed))).toEqual(parsed);
        } catch (error) {
          if (!(error instanceof MosError && error.code === "reference-invalid")) throw error;
          // biome-ignore lint/suspicious/noControlCharactersInRegex: none may reach a terminal
          expect(error.message).not.toMatch(/[\u0000-\u001f\u007f]/);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

describe("a destination", () => {
  test.each([
    [
      "127.0.0.1:5000",
      "machine/install:1.0.0",
      registry("http", "127.0.0.1:5000", "machine/install", "1.0.0"),
    ],
    ["build.example:5000", "a:1", registry("https", "build.example:5000", "a", "1")],
    ["http://build:5000/", "a:1", registry("http", "build:5000", "a", "1")],
    ["https://registry.example/team", "a/b:1", registry("https", "registry.example", "team/a/b", "1")],
  ])("%s and %s", (repo, name, expected) => {
    expect(parseDestination(repo, name)).toEqual(expected);
  });

  test.each([
    ["registry.example:5000", "install", /no tag/],
    ["registry.example:5000", `install@${digest}`, /digest/],
    ["registry.example:5000", "/install:1", /part ""/],
    ["registry.example:5000/Team", "install:1", /part "Team"/],
    ["build", "install:1", /does not look like/],
    ["", "install:1", /no host/],
    ["oci:dir", "install:1", /port/],
  ])("%s and %s is refused", (repo, name, message) => {
    expect(() => parseDestination(repo, name)).toThrow(
      expect.objectContaining({ code: "reference-invalid", message: expect.stringMatching(message) }),
    );
  });
});
