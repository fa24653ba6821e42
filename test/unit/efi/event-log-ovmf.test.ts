// A log that firmware wrote: OVMF with Secure Boot and swtpm, from a start of the secure lane, with the PCRs of the
// same moment (PCR 7 was closed in the initrd by then, 11 and 15 were extended by systemd, 10 by the kernel).
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseEventLog, replayEventLog } from "../../../src/efi/event-log.ts";
import { explainPcrs } from "../../../src/efi/explain-pcrs.ts";

const fixture = (name: string): Buffer => readFileSync(join(import.meta.dirname, "../../fixtures", name));
const log = parseEventLog(fixture("event-log-ovmf.bin"), "fixture");
const pcrs = new Map<number, string>(
  Object.entries(JSON.parse(fixture("event-log-ovmf.json").toString()) as Record<string, string>).map(
    ([pcr, value]) => [Number(pcr), value],
  ),
);

describe("the event log of a firmware", () => {
  test("explains what the firmware measured", () => {
    const verdicts = new Map(explainPcrs(log, "sha256", pcrs).map(({ pcr, verdict }) => [pcr, verdict]));
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 9]) expect([pcr, verdicts.get(pcr)]).toEqual([pcr, "matches"]);
    expect(verdicts.get(7)).toBe("differs");
    expect(verdicts.get(15)).toBe("unlogged");
  });

  test("explains PCR 7 with the one extension that closes it", () => {
    const logged = replayEventLog(log, "sha256").get(7) ?? "";
    const closing = createHash("sha256").update("atomix\n").digest();
    const closed = createHash("sha256").update(Buffer.from(logged, "hex")).update(closing).digest("hex");
    expect(closed).toBe(pcrs.get(7));
  });

  test("says that Secure Boot was on, and who signed what was started", () => {
    const events = explainPcrs(log, "sha256", pcrs).find(({ pcr }) => pcr === 7)?.events ?? [];
    const text = JSON.stringify(events);
    expect(text).toContain("SecureBoot");
    expect(text).toContain("UKI Production");
  });
});
