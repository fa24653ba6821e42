import { describe, expect, it } from "vitest";
import { formatRecord } from "../../../src/agent/log.ts";
import { parseVerityStatus } from "../../../src/agent/observe.ts";

describe("dmsetup status", () => {
  it("says of each device whether a bad block was seen", () => {
    const text = "mos-00aa: 0 3960 verity V\nmos-11bb: 0 8 verity C - 0\nswap: 0 8 crypt\n";
    expect([...parseVerityStatus(text)]).toEqual([
      ["mos-00aa", "verified"],
      ["mos-11bb", "corrupt"],
    ]);
    expect(parseVerityStatus("No devices found\n").size).toBe(0);
  });
});

describe("a line of the log", () => {
  it("has the priority that the journal reads, and its fields", () => {
    expect(formatRecord('{"level":50,"msg":"cannot","code":"x-y","ms":1.5}')).toBe(
      "<3>cannot code=x-y ms=1.5\n",
    );
    expect(formatRecord('{"level":30,"msg":"fine"}')).toBe("<6>fine\n");
  });

  it("cannot be forged or coloured by text from outside", () => {
    const hostile = "a\n<0>forged \u001b[31m";
    const line = formatRecord(JSON.stringify({ level: 30, msg: hostile, service: hostile }));
    expect(line.trimEnd()).not.toMatch(/\p{Cc}/u);
  });
});
