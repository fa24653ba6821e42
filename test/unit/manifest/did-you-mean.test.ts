// What somebody meant by a field that does not exist.
import { expect, test } from "vitest";
import { withSuggestions } from "../../../src/manifest/did-you-mean.ts";
import { importManifestSchema } from "../../../src/manifest/schema.ts";

const unknown = (...path: readonly (string | number)[]) => ({ path, message: "unknown key" });
const said = (...path: readonly (string | number)[]): string =>
  withSuggestions(importManifestSchema, [unknown(...path)])[0]?.message ?? "";

test.each([
  [["prodcut"], "product"],
  [["targets", 0, "verison"], "version"],
  [["targets", 12, "dependsOn"], "depends_on"],
  [["targets", 0, "service-name"], "service_name"],
  [["targets", 0, "network", "port"], "ports"],
  [["targets", 0, "network", "ports", 0, "hosts"], "host"],
  [["targets", 0, "limits", "cpu"], "cpus"],
  [["targets", 0, "health", "http", "prot"], "port"],
  [["storage", 0, "persistant"], "persistent"],
])("%j: %s", (path, meant) => {
  expect(said(...path)).toBe(`unknown key; did you mean ${meant}?`);
});

test.each([[["targets", 0, "privileged"]], [["colour"]], [["nothing", 3, "here"]]])(
  "nothing is like %j",
  (path) => {
    expect(said(...path)).toBe("unknown key");
  },
);

test("other problems stay as they are", () => {
  const problem = { path: ["product"], message: "must not be empty" };
  expect(withSuggestions(importManifestSchema, [problem])).toEqual([problem]);
});
