// The generated reference pages are what the sources say, and the hand-written ones name nothing that is not there.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { catalogue } from "../../../src/errors/catalogue.ts";
import { parseManifestYaml } from "../../../src/manifest/manifest-yaml.ts";
import { manifestFields, referencePages } from "../../../tools/reference.ts";
import { checkout } from "../../../tools/stamp.ts";

function textOf(path: string): string {
  return readFileSync(join(checkout, path), "utf8");
}

function filesBelow(directory: string, ending: string): string[] {
  return readdirSync(join(checkout, directory), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));
}

const pages = filesBelow("docs", ".md");

describe("generated reference", () => {
  test.each([...referencePages()])("%s is what the sources say", (path, content) => {
    expect(textOf(path), "stale: run node_modules/.bin/node tools/reference.ts").toBe(content);
  });

  test("every field of the manifest has a meaning", () => {
    expect(manifestFields().filter(({ meaning }) => meaning === "")).toEqual([]);
  });

  test("the example manifest of the reference is accepted", () => {
    const [, example = ""] =
      /```yaml\n(version: 1\n[\s\S]*?)```/.exec(textOf("docs/reference/manifest.md")) ?? [];
    expect(parseManifestYaml(example, "example").targets).toHaveLength(1);
  });
});

describe("error codes", () => {
  const sources = filesBelow("src", ".ts")
    .filter((path) => path !== "src/errors/catalogue.ts")
    .map(textOf)
    .join("\n");
  // Raised with its name put together (`${kind}-missing` in src/agent/signed-manifest.ts).
  const composed = new Set(["certificate-missing", "signature-missing"]);

  test.each(Object.keys(catalogue).filter((code) => !composed.has(code)))(
    "%s is raised somewhere",
    (code) => {
      expect(sources).toContain(`"${code}"`);
    },
  );

  test.each(pages)("%s names only codes that exist", (page) => {
    const named = [...textOf(page).matchAll(/error code `([a-z-]+)`|code: `?([a-z]+-[a-z-]+)`?/g)];
    const unknown = named.map(([, a, b]) => a ?? b ?? "").filter((code) => !Object.hasOwn(catalogue, code));
    expect(unknown).toEqual([]);
  });
});

test.each(pages)("links of %s lead to files that are there", (page) => {
  const links = [...textOf(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, target]) => target ?? "");
  for (const link of links) expect(() => textOf(join(dirname(page), link)), link).not.toThrow();
});
