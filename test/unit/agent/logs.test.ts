// Entries of the journal, as the socket passes them on.
import { describe, expect, it } from "vitest";
import { readEntry } from "../../../src/agent/logs.ts";

const entry = (fields: object): string =>
  JSON.stringify({ __REALTIME_TIMESTAMP: "1700000000123456", ...fields });

describe("an entry of the journal", () => {
  it("has its time, its priority and its text", () => {
    expect(readEntry(entry({ PRIORITY: "6", MESSAGE: "100 %\\n" }))).toEqual({
      time: "2023-11-14T22:13:20.123Z",
      priority: 6,
      message: "100 %\\n",
    });
  });

  it("that is no UTF-8 is read as well as it can be", () => {
    expect(readEntry(entry({ MESSAGE: [104, 105, 255] }))?.message).toBe("hi\ufffd");
  });

  it.each([[{}], [{ MESSAGE: null }]])("without a text is left out", (fields) => {
    expect(readEntry(entry(fields))).toBeUndefined();
  });
});
