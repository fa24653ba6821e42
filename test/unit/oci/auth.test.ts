import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseChallenges } from "../../../src/oci/challenge.ts";
import { credentialFiles, findCredential } from "../../../src/oci/credentials.ts";
import { temporaryDirectory } from "../../support.ts";

const challenges = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("a challenge", () => {
  test.each([
    ['Basic realm="test"', [["basic", { realm: "test" }]]],
    ["Basic realm=test", [["basic", { realm: "test" }]]],
    [
      'Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"',
      [
        [
          "bearer",
          { realm: "https://auth.example/token", service: "registry", scope: "repository:a/b:pull,push" },
        ],
      ],
    ],
    ['BEARER Realm = "a" , service=b', [["bearer", { realm: "a", service: "b" }]]],
    [
      'Negotiate abc==, Basic realm="x", Bearer realm="y"',
      [
        ["negotiate", {}],
        ["basic", { realm: "x" }],
        ["bearer", { realm: "y" }],
      ],
    ],
    ["Negotiate", [["negotiate", {}]]],
    [String.raw`Basic realm="a\"b\\c"`, [["basic", { realm: String.raw`a"b\c` }]]],
    [', Basic realm="x",', [["basic", { realm: "x" }]]],
  ])("%s", (header, expected) => {
    expect(challenges(header)).toEqual(expected);
  });

  test.each([
    "",
    'Bearer realm="open',
    'Bearer realm="a" service="b"',
    'Bearer realm="a",realm="b"',
    'Bearer ="a"',
    'Bearer realm="a\u0000"',
    'Bearer realm="\u00e9"',
    "Bearer realm=a b",
    `Bearer realm="${"a".repeat(10_000)}"`,
  ])("that is malformed is no challenge: %.40s", (header) => {
    expect(challenges(header)).toEqual([]);
  });

  test("of any parameters is read as it was written", () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,10}$/);
    const value = fc.stringMatching(/^[\t\x20-\x7e]{0,40}$/);
    fc.assert(
      fc.property(
        name,
        fc.dictionary(name, value, { minKeys: 1, noNullPrototype: true }),
        (scheme, parameters) => {
          const text = Object.entries(parameters).map(
            ([key, content]) => `${key}="${content.replace(/["\\]/g, String.raw`\$&`)}"`,
          );
          expect(challenges(`${scheme} ${text.join(", ")}`)).toEqual([[scheme, parameters]]);
        },
      ),
    );
  });

  test("of any text at all is read or not, and never fails", () => {
    const piece = fc.constantFrom("Bearer", " ", ",", "=", '"', "\\", "realm", "a", "\t", "\u00e9", "==");
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(piece).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (header) => Array.isArray(parseChallenges(header))),
      { numRuns: 1000 },
    );
  });
});

describe("stored credentials", () => {
  const encoded = (text: string) => Buffer.from(text).toString("base64");

  async function file(auths: unknown): Promise<string> {
    const path = join(await temporaryDirectory(), "auth.json");
    await writeFile(path, typeof auths === "string" ? auths : JSON.stringify({ auths }));
    return path;
  }

  test("are those of the most specific entry", async () => {
    const path = await file({
      "r.example": { auth: encoded("host:1") },
      "r.example/team": { auth: encoded("team:2") },
      "r.example/team/app": { auth: encoded("app:3:4") },
    });
    const user = async (repository: string) => await findCredential([path], "r.example", repository);
    expect(await user("team/app")).toEqual({ user: "app", password: "3:4" });
    expect(await user("team/other")).toEqual({ user: "team", password: "2" });
    expect(await user("team-b/app")).toEqual({ user: "host", password: "1" });
    expect(await findCredential([path], "r.example:5000", "team/app")).toBeUndefined();
  });

  test("are found under the URLs that Docker writes", async () => {
    const path = await file({ "https://r.example/v1/": { auth: encoded("a:b") } });
    expect(await findCredential([path], "r.example", "x")).toEqual({ user: "a", password: "b" });
  });

  test("are those of the first file that has any", async () => {
    const absent = join(await temporaryDirectory(), "auth.json");
    const other = await file({ "other.example": { auth: encoded("a:b") } });
    const empty = await file({ "r.example": {} });
    const path = await file({ "r.example": { auth: encoded("c:d") } });
    expect(await findCredential([absent, other, empty, path], "r.example", "x")).toEqual({
      user: "c",
      password: "d",
    });
  });

  test.each([
    ["no JSON", "auths:"],
    ["another document", '{"auths":[]}'],
    ["no colon", { "r.example": { auth: encoded("nocolon") } }],
    ["a line break", { "r.example": { auth: encoded("a:b\r\nX: y") } }],
  ])("in a file with %s are an error that does not show them", async (_, content) => {
    const path = await file(content);
    const error: unknown = await findCredential([path], "r.example", "x").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: expect.stringMatching(/file-unreadable|document-invalid/),
      about: path,
    });
    expect(String(error)).not.toMatch(/nocolon|X: y/);
  });

  test("are looked for where skopeo, podman and docker keep them", () => {
    expect(credentialFiles({ XDG_RUNTIME_DIR: "/run/user/1", HOME: "/home/a" })).toEqual([
      "/run/user/1/containers/auth.json",
      "/home/a/.config/containers/auth.json",
      "/home/a/.docker/config.json",
    ]);
    expect(credentialFiles({ REGISTRY_AUTH_FILE: "/etc/mos/auth.json", HOME: "/home/a" })).toEqual([
      "/etc/mos/auth.json",
    ]);
    expect(credentialFiles({})).toEqual([]);
  });
});
