import { describe, expect, test } from "vitest";
import { opticalDisc } from "../../../src/image/optical-disc.ts";

const mebibyte = 1024 * 1024;
const { offset, content } = opticalDisc(300 * mebibyte, mebibyte, 1_700_000_000);
const sector = (number: number): Buffer =>
  content.subarray(number * 2048 - offset, (number + 1) * 2048 - offset);

describe("an optical disc in a disk image", () => {
  test("is between the partition table and the first partition", () => {
    // 34 sectors of 512 bytes (UEFI 2.10, section 5.3.1).
    expect(offset).toBeGreaterThanOrEqual(34 * 512);
    expect(offset + content.length).toBeLessThanOrEqual(mebibyte);
  });

  test("has a file system of its name and of the image's size, in both byte orders", () => {
    const primary = sector(16);
    expect(primary.toString("latin1", 1, 6)).toBe("CD001");
    expect(primary.toString("latin1", 40, 72).trimEnd()).toBe("MOS_INSTALL");
    expect(primary.readUInt32LE(80)).toBe((300 * mebibyte) / 2048);
    expect(primary.readUInt32BE(84)).toBe((300 * mebibyte) / 2048);
    expect(primary.toString("latin1", 813, 829)).toBe("2023111422132000");
    expect(sector(18)[0]).toBe(255);
  });

  test("leads firmware to the first partition", () => {
    expect(sector(17).toString("latin1", 7, 30)).toBe("EL TORITO SPECIFICATION");
    const catalog = sector(sector(17).readUInt32LE(71));
    expect(catalog[1]).toBe(0xef);
    let sum = 0;
    for (let at = 0; at < 32; at += 2) sum += catalog.readUInt16LE(at);
    expect(sum & 0xffff).toBe(0);
    expect(catalog[32]).toBe(0x88);
    expect(catalog.readUInt32LE(40)).toBe(512);
  });

  test("is the same each time", () => {
    expect(opticalDisc(300 * mebibyte, mebibyte, 1_700_000_000).content.equals(content)).toBe(true);
  });
});
