import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { parseImageDescription } from "../../../src/image/description.ts";

const good = {
  version: 1,
  name: "demo",
  release: "1.0",
  root: { debian: {} },
  boot: { keyset: "demo" },
  trust: { product: "p" },
};

const parse = (value: unknown) => parseImageDescription(JSON.stringify(value), "image.yaml");

function problems(value: unknown): readonly string[] {
  try {
    parse(value);
  } catch (error) {
    if (error instanceof MosError && error.code === "image-description-invalid") return error.problems;
    throw error;
  }
  return [];
}

describe("image.yaml", () => {
  test("needs little, and has defaults for the rest", () => {
    expect(parse(good)).toMatchObject({
      root: { debian: { suite: "trixie", packages: [] }, hostname: "mos", compression: "lz4hc", layers: 1 },
      boot: { loader: "systemd-boot", tries: 3, command_line: "" },
      disk: { esp: 512, state: 4096 },
    });
  });

  test("has sizes in M, G and T", () => {
    const disk = { esp: "64M", state: "2G", swap: "1T" };
    expect(parse({ ...good, disk }).disk).toEqual({ esp: 64, state: 2048, swap: 1024 * 1024 });
  });

  const file = (more: object): object => ({
    ...good,
    root: { debian: {}, files: [{ path: "/etc/x", ...more }] },
  });
  test.each<[string, unknown, RegExp]>([
    ["an unknown key", { ...good, colour: "red" }, /colour.*unknown key/],
    ["no root", { ...good, root: {} }, /one of debian and source/],
    ["two roots", { ...good, root: { debian: {}, source: "rootfs:x" } }, /one of debian and source/],
    ["a root of another kind", { ...good, root: { source: "zip:x" } }, /rootfs:/],
    ["a root of three layers", { ...good, root: { debian: {}, layers: 3 } }, /layers/],
    ["a path that leaves the root", file({ path: "/etc/../x", content: "" }), /absolute path/],
    ["a relative path", file({ path: "etc/x", content: "" }), /absolute path/],
    ["a file without content", file({}), /one of content, source and link/],
    ["a file with two contents", file({ content: "", source: "x" }), /one of content, source and link/],
    ["a mode that is none", file({ content: "", mode: "999" }), /octal/],
    ["a command line of two lines", { ...good, boot: { keyset: "demo", command_line: "a\nb" } }, /ASCII/],
    ["no tries", { ...good, boot: { keyset: "demo", tries: 0 } }, /tries/],
    ["a name with a slash", { ...good, name: "a/b" }, /a-z/],
    ["a size without a unit", { ...good, disk: { esp: "64" } }, /M, G or T/],
    ["another encryption", { ...good, disk: { encrypt: "password" } }, /tpm2/],
    ["services from a registry", { ...good, services: "docker://x/y:1" }, /oci:DIR:TAG/],
  ])("with %s is refused, with line and column", (_, value, why) => {
    expect(problems(value)).toEqual([expect.stringMatching(/^image\.yaml:1:\d+: /)]);
    expect(problems(value)[0]).toMatch(why);
  });

  test("of any shape is read or refused by name", () => {
    fc.assert(fc.property(fc.json(), (text) => problems(JSON.parse(text)).length > 0));
  });
});
