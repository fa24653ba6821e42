import { describe, expect, test } from "vitest";
import { parseTable, recoveryKeyText } from "../../../src/provision/recovery-key.ts";

describe("a recovery key", () => {
  test("has 256 bits in digits that every keyboard has in the same place", () => {
    const bytes = Buffer.from("0123456789abcdef".repeat(4), "hex");
    expect(recoveryKeyText(bytes)).toBe(Array(4).fill("cbdefghi-jklnrtuv").join("-"));
  });

  test("is made for an open volume of ours only", () => {
    const key = "ab".repeat(64);
    const line = `0 2064384 crypt aes-xts-plain64 ${key} 0 254:4 32768 1 allow_discards\n`;
    expect(parseTable(line)).toEqual({ key: Buffer.from(key, "hex"), number: "254:4" });
    for (const bad of [
      "",
      line.replace("crypt", "linear"),
      line.replace("aes-xts", "cipher_null"),
      line.replace(key, ":64:logon:x"),
    ])
      expect(parseTable(bad)).toBeUndefined();
  });
});
