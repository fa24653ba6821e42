// What a log may say about Secure Boot, and where it is not believed.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { explainQuotedPcrs } from "../../../src/attest/explain.ts";
import { readMeasuredBoot } from "../../../src/attest/measured-boot.ts";
import { parseEventLog, replayEventLog } from "../../../src/efi/event-log.ts";
import { guids } from "../../../src/efi/guid.ts";
import { encodeVariableData } from "../../../src/efi/measured.ts";
import { type WrittenEvent, writeLog } from "../efi/event-log-writer.ts";

const driverConfig = 0x8000_0001;
const switchedTo = (value: number, change: Partial<WrittenEvent> = {}): WrittenEvent => ({
  pcr: 7,
  type: driverConfig,
  data: encodeVariableData({ name: "SecureBoot", guid: guids.global, data: Uint8Array.of(value) }),
  ...change,
});
const separator: WrittenEvent = { pcr: 7, type: 4, data: new Uint8Array(4) };
const stateOf = (...events: readonly WrittenEvent[]) =>
  readMeasuredBoot(parseEventLog(writeLog(events), "log")).secureBoot;

describe("Secure Boot", () => {
  test("is on when the firmware measured that it is", () => {
    expect(stateOf(switchedTo(1), separator)).toBe("enabled");
  });

  test("is off when the firmware measured that it is, even once", () => {
    expect(stateOf(switchedTo(0), separator)).toBe("disabled");
    expect(stateOf(switchedTo(1), switchedTo(0), separator)).toBe("disabled");
    expect(stateOf(switchedTo(2), separator)).toBe("disabled");
  });

  test.each([
    ["nobody measured it", [separator]],
    ["a program that was started measured it", [separator, switchedTo(1)]],
    ["the firmware's own measurements never end", [switchedTo(1)]],
    ["it was measured into another PCR", [switchedTo(1, { pcr: 1 }), separator]],
    ["it was measured as something else", [switchedTo(1, { type: 0x0d }), separator]],
    [
      "something else was measured than the log says",
      [switchedTo(1, { measured: new Uint8Array(1) }), separator],
    ],
    [
      "it is a variable of another vendor",
      [
        switchedTo(1, {
          data: encodeVariableData({ name: "SecureBoot", guid: guids.shimLock, data: Uint8Array.of(1) }),
        }),
        separator,
      ],
    ],
    ["it cannot be read", [switchedTo(1, { data: new Uint8Array(3) }), separator]],
  ])("is not proved when %s", (_what, events) => {
    expect(stateOf(...events)).toBe("unverified");
  });
});

test("a PCR that starts at another locality is explained", () => {
  const locality: WrittenEvent = {
    pcr: 0,
    type: 3,
    data: Buffer.from("StartupLocality\0\x03"),
    measured: new Uint8Array(),
  };
  const version: WrittenEvent = { pcr: 0, type: 8, data: Buffer.from("version") };
  const firmware = parseEventLog(writeLog([locality, version]), "log");
  const start = Buffer.alloc(32);
  start[31] = 3;
  const digest = createHash("sha256").update("version").digest();
  const value = createHash("sha256").update(start).update(digest).digest();
  expect(replayEventLog(firmware, "sha256").get(0)).toBe(value.toString("hex"));
  expect(explainQuotedPcrs(new Map([[0, value]]), { firmware, systemd: [] })).toMatchObject([
    { by: "firmware" },
  ]);
});

test("a log without SHA-256 explains nothing that was extended", () => {
  const firmware = parseEventLog(writeLog([switchedTo(1), separator], ["sha1"]), "log");
  const value = new Uint8Array(32).fill(1);
  expect(explainQuotedPcrs(new Map([[7, value]]), { firmware, systemd: [] })).toMatchObject([
    { by: "nobody" },
  ]);
});
