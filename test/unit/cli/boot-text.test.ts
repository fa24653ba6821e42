// The line of `mosctl status` about how a boot began.
import { describe, expect, test } from "vitest";
import { bootText } from "../../../src/cli/mosctl/boot-text.ts";

describe("how a boot began", () => {
  test("is not mentioned where mos is not in the initrd", () => {
    expect(bootText(undefined)).toBeUndefined();
  });

  test("is one line when all was done in the initrd", () => {
    expect(bootText({ initrd: { outcome: "applied", generation: 2 }, service: "nothing-to-do" })).toBe(
      "applied: services are part of it since the initrd; nothing was left to do",
    );
  });

  test("says what the initrd could not do, why, and what became of it", () => {
    const error = { code: "state-missing", message: "cannot find the device's state: missing device /dev/x" };
    expect(bootText({ initrd: { outcome: "no-state", error }, service: "applied" })).toBe(
      "no-state: the initrd did not find the device's state (cannot find the device's state: missing device /dev/x); the agent brought up what was missing",
    );
    expect(bootText({ initrd: { outcome: "no-state", error } })).toContain("the agent has not started yet");
  });
});
