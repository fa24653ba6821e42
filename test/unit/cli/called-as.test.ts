import { expect, test } from "vitest";
import { calledAs } from "../../../src/cli/called-as.ts";

const names = ["mosctl", "mosd", "trust"] as const;

test.each([
  ["a link in PATH", ["/usr/lib/mos/mos", "mosctl", "status"], "mosctl", ["status"]],
  ["a link by its path", ["/usr/lib/mos/mos", "/usr/bin/mosd"], "mosd", []],
  [
    "the executable and a name",
    ["/usr/bin/mos", "mos", "trust", "keyset", "list"],
    "trust",
    ["keyset", "list"],
  ],
  ["the sources and a name", ["/opt/node", "/src/main.ts", "mosctl", "--json"], "mosctl", ["--json"]],
  ["a link whose first word is a name too", ["/usr/bin/mos", "mosctl", "trust"], "mosctl", ["trust"]],
  ["the executable and no name", ["/usr/bin/mos", "mos", "--version"], undefined, ["--version"]],
  ["a name that is not ours", ["/usr/bin/mos", "mos", "toString"], undefined, ["toString"]],
  ["nothing at all", ["/usr/bin/mos"], undefined, []],
])("the program is known by %s", (_, argv, name, args) =>
  expect(calledAs(argv, names)).toEqual({ name, args }),
);
