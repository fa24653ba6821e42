// A recovery key for an encrypted state: what an operator keeps off the device, for the day on which its TPM does not
// give the key any more. The volume's own key is taken from the device that is open, because nobody knows another.
import { randomBytes } from "node:crypto";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { openState } from "../image/disk-layout.ts";
import { parseJson } from "../system/json.ts";
import { run } from "../system/process.ts";

/** Digits that are in the same place on every keyboard, as systemd-cryptenroll(1) takes for its recovery keys. */
const modhex = "cbdefghijklnrtuv";
const keyBytes = 32;

/** A new key of 256 bits, in eight groups of eight. */
export function recoveryKeyText(random: Uint8Array): string {
  const digits = [...random].flatMap((byte) => [modhex[byte >> 4], modhex[byte & 15]]).join("");
  return digits.match(/.{8}/g)?.join("-") ?? "";
}

/** The open volume: its own key, and the device that it is on. */
export function parseTable(text: string): { readonly key: Buffer; readonly number: string } | undefined {
  // start, length, type, cipher, key, offset of the IV, device (Documentation/admin-guide/device-mapper/dm-crypt.rst)
  const found = /^0 \d+ crypt aes-xts-plain64 ([0-9a-f]{128}) 0 (\d+:\d+) \d+(?: |$)/.exec(text.trim());
  const [, key, number] = found ?? [];
  return key === undefined || number === undefined ? undefined : { key: Buffer.from(key, "hex"), number };
}

async function openVolume(): Promise<{ readonly key: Buffer; readonly device: string }> {
  try {
    const { stdout } = await run("dmsetup", ["table", "--showkeys", basename(openState)]);
    const table = parseTable(stdout);
    if (table !== undefined) {
      return { key: table.key, device: await realpath(`/dev/block/${table.number}`) };
    }
  } catch (error) {
    if (asMosError(error).code !== "program-failed") throw error;
  }
  throw new MosError("state-not-encrypted", "cannot make a recovery key: the state is not encrypted");
}

/** Numbers of the keyslots of a LUKS2 header (its JSON area), but the first, which is the TPM's. */
async function recoverySlots(device: string): Promise<string[]> {
  const { stdout } = await run("cryptsetup", ["luksDump", "--dump-json-metadata", device]);
  const json = parseJson(Buffer.from(stdout), device);
  const slots = typeof json === "object" && json !== null && "keyslots" in json ? json["keyslots"] : {};
  return typeof slots === "object" && slots !== null ? Object.keys(slots).filter((one) => one !== "0") : [];
}

/**
 * Makes a recovery key; the one before does not open the state any more.
 * @returns the key, which is stored nowhere
 * @throws MosError `state-not-encrypted`, `program-missing`, `program-failed`, `io-failed`
 */
export async function makeRecoveryKey(): Promise<{ readonly key: string; readonly device: string }> {
  const { key: volumeKey, device } = await openVolume();
  // In memory.
  const directory = await mkdtemp("/run/mos-recovery-");
  try {
    const [volume, added] = [join(directory, "volume"), join(directory, "added")];
    const key = recoveryKeyText(randomBytes(keyBytes));
    await writeFile(volume, volumeKey, { mode: 0o600 });
    await writeFile(added, key, { mode: 0o600 });
    const before = await recoverySlots(device);
    // What mos-state-key of the initrd takes for a header of its own; the key is random, so no guess is to be made slow.
    const form = ["--keyslot-cipher", "aes-xts-plain64", "--keyslot-key-size", "512", "--hash", "sha256"];
    const guess = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    const add = ["luksAddKey", "--batch-mode", "--volume-key-file", volume, ...form, ...guess];
    await run("cryptsetup", [...add, device, added]);
    for (const slot of before) await run("cryptsetup", ["luksKillSlot", "--batch-mode", device, slot]);
    return { key, device };
  } finally {
    volumeKey.fill(0);
    await rm(directory, { recursive: true, force: true });
  }
}
