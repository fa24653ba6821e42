// The logs as they are read on the device.
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { maxLogSize } from "../../../src/attest/document.ts";
import { readFirmwareLog, withSystemdLog } from "../../../src/attest/read-logs.ts";
import { tryLockExclusive } from "../../../src/system/libc.ts";
import { temporaryDirectory } from "../../support.ts";

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

describe("the firmware's log", () => {
  test("is read whole, whatever its size", async () => {
    const path = join(await temporaryDirectory(), "log");
    const bytes = Buffer.alloc(200_001, "x");
    await writeFile(path, bytes);
    expect(Buffer.compare((await readFirmwareLog(path)) ?? new Uint8Array(), bytes)).toBe(0);
  });

  test("is read although its size is not known before, as of every file of the kernel", async () => {
    expect(text(await readFirmwareLog("/proc/self/status"))).toMatch(/^Name:/);
  });

  test("may be absent", async () => {
    expect(await readFirmwareLog(join(await temporaryDirectory(), "log"))).toBeUndefined();
  });

  test("is refused when it is too large for a document", async () => {
    const path = join(await temporaryDirectory(), "log");
    await writeFile(path, Buffer.alloc(maxLogSize + 1));
    await expect(readFirmwareLog(path)).rejects.toEqual(
      expect.objectContaining({ code: "event-log-invalid" }),
    );
  });
});

describe("systemd's log", () => {
  test("is read between two measurements: one that is under way is waited for", async () => {
    const path = join(await temporaryDirectory(), "log");
    await writeFile(path, "before");
    const systemd = await open(path, "a");
    expect(tryLockExclusive(systemd.fd)).toBe(true);
    const reading = withSystemdLog(path, async (log) => {
      // Nobody measures while the quote is made.
      await using other = await open(path, "a");
      expect(tryLockExclusive(other.fd)).toBe(false);
      return text(log);
    });
    await systemd.write(" after");
    await systemd.close();
    expect(await reading).toBe("before after");
    await using free = await open(path, "a");
    expect(tryLockExclusive(free.fd)).toBe(true);
  });

  test("may be absent", async () => {
    const path = join(await temporaryDirectory(), "log");
    expect(await withSystemdLog(path, async (log) => log)).toBeUndefined();
  });
});
