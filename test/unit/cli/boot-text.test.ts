// The line of `mosctl status` about how a boot began.
import { describe, expect, test } from "vitest";
import { bootText, filesText, setTexts } from "../../../src/cli/mosctl/boot-text.ts";

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

describe("sets in levels", () => {
  const status = { version: 1, health: "none", mosVersion: "1", services: [], bootTargets: [] } as const;
  const levels = [
    { level: "class:kiosk", serial: 2, source: "kept", files: 1, paths: ["10-lan.network"] },
    { level: "everybody", serial: 4, source: "image", files: 3, paths: ["a", "b", "c"] },
  ] as const;
  test("are a line each, with what comes from where", () => {
    expect(
      setTexts({ ...status, sets: [{ name: "network", destination: "/etc/systemd/network", levels }] }),
    ).toEqual([
      [
        "set network",
        "/etc/systemd/network: 10-lan.network of class:kiosk (serial 2), 3 files of everybody (serial 4, with the image)",
      ],
    ]);
    expect(setTexts(status)).toEqual([]);
  });
  test("that cannot be written in the initrd are said to be left to the running system", () => {
    const files = {
      sets: [],
      apps: [],
      levels: { restored: [], later: ["network"] },
      configs: [],
      problems: [],
    };
    expect(filesText({ outcome: "incomplete", ...files })).toBe(
      "incomplete: the initrd did not install all of them; left to the running system: network",
    );
  });
});
