// F04: a named fault comes at its point, once.
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { systemCode } from "../../../src/errors/mos-error.ts";
import { fault } from "../../../src/system/fault.ts";
import { temporaryDirectory } from "../../support.ts";

let stamps: string;
beforeEach(async () => {
  stamps = join(await temporaryDirectory(), "stamps");
  vi.stubEnv("MOS_FAULT_STAMPS", stamps);
});

afterEach(() => {
  vi.unstubAllEnvs();
});

const codeAt = async (...[tag]: Parameters<typeof fault>) =>
  await fault(tag).then(
    () => undefined,
    (error: unknown) => systemCode(error) ?? (error instanceof Error ? error.message : error),
  );

describe("a fault that MOS_FAULT names", () => {
  test("comes at its point and at no other, as the system would say it", async () => {
    vi.stubEnv("MOS_FAULT", "update.add:enospc,update.stage:eio");
    expect(await codeAt("update.verify")).toBeUndefined();
    expect(await codeAt("update.stage")).toBe("EIO");
    expect(await codeAt("update.add")).toBe("ENOSPC");
  });

  test("comes once, until its stamp is removed", async () => {
    vi.stubEnv("MOS_FAULT", "update.add:erofs");
    expect(await codeAt("update.add")).toBe("EROFS");
    expect(await codeAt("update.add")).toBeUndefined();
    expect(await readdir(stamps)).toEqual(["update.add:erofs"]);
    await rm(stamps, { recursive: true });
    expect(await codeAt("update.add")).toBe("EROFS");
  });

  test("of another kind at the same point comes after it", async () => {
    vi.stubEnv("MOS_FAULT", "update.add:eio,update.add:emfile");
    expect(await codeAt("update.add")).toBe("EIO");
    expect(await codeAt("update.add")).toBe("EMFILE");
    expect(await codeAt("update.add")).toBeUndefined();
  });

  test.each(["update.add", "update.add:fire", "nowhere:eio", ":eio", "", "update.add:eio,"])(
    "as %j is refused: nobody waits for what never comes",
    async (wanted) => {
      vi.stubEnv("MOS_FAULT", wanted);
      expect(await codeAt("update.verify")).toBe("usage");
    },
  );

  test("does nothing where none is named", async () => {
    vi.stubEnv("MOS_FAULT", undefined);
    expect(await codeAt("update.add")).toBeUndefined();
  });
});
