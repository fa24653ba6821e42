import { describe, expect, it } from "vitest";
import { escapePath, escapeUnitName, mountUnitName } from "../../../src/systemd/escape.ts";

// Expected values are those that systemd-escape(1) prints; the integration lane asks it itself.
describe("unit names", () => {
  it.each([
    ["/run/mos/roots/zot", "run-mos-roots-zot.mount"],
    ["/run/mos/roots/my-service", "run-mos-roots-my\\x2dservice.mount"],
    ["/", "-.mount"],
    ["//a//b/", "a-b.mount"],
  ])("mount of %s is %s", (path, name) => expect(mountUnitName(path)).toBe(name));

  it("escapes a leading dot and bytes outside the alphabet", () => {
    expect(escapeUnitName(".hidden")).toBe("\\x2ehidden");
    expect(escapeUnitName("é b")).toBe("\\xc3\\xa9\\x20b");
    expect(escapePath("/a.b/c_d")).toBe("a.b-c_d");
  });
});
