import { describe, expect, it } from "vitest";
import { parseShow } from "../../../src/systemd/manager.ts";

describe("systemctl show", () => {
  it("is one record a unit, with values that may hold '='", () => {
    expect(parseShow("Id=a.service\nResult=success\n\nId=b.service\nResult=\nX=1=2\n")).toEqual([
      { Id: "a.service", Result: "success" },
      { Id: "b.service", Result: "", X: "1=2" },
    ]);
  });
});
