// The generated reference pages are what the sources say, and no page names a code or a file that is not there.
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
  // Its name is put together: `${kind}-missing` in src/agent/signed-manifest.ts.
  const composed = ["certificate-missing"];

  test("every code of the catalogue is raised somewhere", () => {
    const silent = Object.keys(catalogue).filter((code) => !sources.includes(`"${code}"`));
    expect(silent.toSorted()).toEqual(composed);
  });

  test.each(pages)("%s names only codes that exist", (page) => {
    const codeLike =
      /`([a-z]+(?:-[a-z]+)*-(?:invalid|missing|failed|mismatch|corrupt|unsupported|refused|malformed))`/g;
    const named = [...textOf(page).matchAll(codeLike)].map(([, code]) => code ?? "");
    const unknown = named.filter((code) => !Object.hasOwn(catalogue, code));
    expect(unknown).toEqual([]);
  });
});

test.each(pages)("links of %s lead to files that are there", (page) => {
  const links = [...textOf(page).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, target]) => target ?? "");
  for (const link of links) expect(() => textOf(join(dirname(page), link)), link).not.toThrow();
});
