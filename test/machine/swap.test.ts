// Swap beside an encrypted state, by the files that an image has for it: what is in it cannot be read by a later start.
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { crypttab, fstab, partitions } from "../../src/image/disk-layout.ts";
import { run } from "../../src/system/process.ts";
import { bootDevice } from "./harness.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let work: string;
let disk: string;
const mebibyte = 1024 ** 2;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-swap-"));
  disk = join(work, "disk.img");
  await writeFile(disk, "");
  await truncate(disk, 64 * mebibyte);
  const { type, name } = partitions.encryptedSwap;
  const layout = `label: gpt\nstart=2048, type=${type}, name=${name}\n`;
  await run("sfdisk", ["--quiet", disk], { stdin: layout });
  device = await bootDevice("swap", { disks: [disk] });
  await device.machine.putFile("/etc/crypttab", crypttab(), 0o644);
  const line = fstab({ swap: true, encrypted: true })
    .split("\n")
    .find((one) => one.includes(" swap "));
  await device.machine.exec(`echo '${line}' >> /etc/fstab; sync`);
});
afterAll(async () => {
  await device?.[Symbol.asyncDispose]();
  await rm(work, { recursive: true, force: true });
});

/** What the partition begins with, where a swap area has its size and its uuid, and a mark at the end of a page. */
const onDisk = async () =>
  (await device.machine.exec("dd if=/dev/ubdb1 bs=4k count=1 status=none | sha256sum")).stdout;

test("is used, encrypted with another key at each start", async () => {
  const seen = new Set<string>();
  for (const _ of [1, 2]) {
    await device.machine.reboot();
    expect(await device.machine.booted()).toBe("running");
    const { stdout } = await device.machine.exec(
      "swapon --show=NAME --noheadings --raw; dmsetup table mos-swap",
    );
    expect(stdout).toMatch(/^\/dev\/dm-\d+\n0 \d+ crypt aes-xts-plain64 /);
    const raw = await device.machine.exec("blkid -p --output value --match-tag TYPE /dev/ubdb1", {
      accept: "any",
    });
    expect(raw.stdout).toBe("");
    await device.machine.exec("sync; echo 3 > /proc/sys/vm/drop_caches");
    seen.add(await onDisk());
  }
  expect(seen.size).toBe(2);
});
