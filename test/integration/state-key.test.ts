// The script of the initrd that gets the key of an encrypted state out of the TPM, with real programs and a software
// TPM: which volumes it gives a key for, and which headers and TPMs it refuses. What opens the volume then needs a
// device mapper: test/secure/encrypted.test.ts.
import { createHash } from "node:crypto";
import { copyFile, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";

const script = join(import.meta.dirname, "../../initrd-hooks/dracut/61mos-encrypt/mos-state-key.sh");

let work: string;
let tpm: Swtpm;
/** The header that the first test makes, and its key. */
let good: string;
let key: Buffer;
let count = 0;

async function ask(
  verb: "find" | "new",
  header: string,
  from = tpm,
): Promise<{ readonly key: Buffer | undefined; readonly said: string }> {
  count++;
  const place = join(work, `ask${count}`);
  await mkdir(place, { mode: 0o700 });
  const file = join(place, "key");
  const device = verb === "new" ? [join(work, "device")] : [];
  const { exitCode, stderr } = await run("sh", [script, verb, header, ...device, file], {
    accept: [0, 1],
    env: { TPM2TOOLS_TCTI: from.tcti, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
  return { key: exitCode === 0 ? await readFile(file) : undefined, said: stderr };
}

/** A copy of the good header that was changed in one way. */
async function changed(name: string, change: (header: string) => Promise<void>): Promise<string> {
  const header = join(work, name);
  await copyFile(good, header);
  await change(header);
  return header;
}

const cryptsetup = (...args: readonly string[]) => run("cryptsetup", ["--batch-mode", ...args]);

/**
 * Changes the text of both copies of a header, and makes their checksums right (LUKS2 On-Disk Format Specification,
 * section 2.1: 4096 bytes with a sha256 at 448, the text behind, the second copy behind both).
 */
async function edit(path: string, from: string, to: string): Promise<void> {
  const bytes = await readFile(path);
  const size = Number(bytes.readBigUInt64BE(8));
  for (const copy of [bytes.subarray(0, size), bytes.subarray(size, 2 * size)]) {
    const text = copy.subarray(4096);
    const end = text.indexOf(0);
    const before = text.subarray(0, end).toString();
    expect(before).toContain(from);
    text.fill(0).write(before.replace(from, to));
    copy.fill(0, 448, 512);
    createHash("sha256").update(copy).digest().copy(copy, 448);
  }
  await writeFile(path, bytes);
}

async function replaceToken(header: string, parts: Readonly<Record<string, string>>): Promise<void> {
  const { stdout } = await cryptsetup("token", "export", "--token-id", "0", header);
  await cryptsetup("token", "remove", "--token-id", "0", header);
  const json = JSON.stringify({ ...JSON.parse(stdout), ...parts });
  await run("cryptsetup", ["token", "import", "--json-file", "-", header], { stdin: json });
}

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-key-"));
  tpm = await startSwtpm(work);
  await writeFile(join(work, "device"), "");
  await truncate(join(work, "device"), 32 * 1024 * 1024);
  good = join(work, "good");
  const made = await ask("new", good);
  expect(made.said).toBe("");
  key = made.key ?? expect.fail("no key was made");
}, 60_000);
afterAll(async () => {
  await tpm.stop();
  await rm(work, { recursive: true, force: true });
});

describe("the key of an encrypted state", () => {
  // As a start of the machine: what is left in the TPM is gone.
  beforeEach(() => tpm.restart());

  test("opens the volume that it was made with, and is given for it again after a start", async () => {
    expect(key.length).toBe(32);
    await tpm.restart();
    expect((await ask("find", good)).key).toEqual(key);
    const file = join(work, "file");
    await writeFile(file, key, { mode: 0o600 });
    await cryptsetup("open", "--test-passphrase", "--key-file", file, good);
  });

  test("is another one for each volume", async () => {
    const other = await ask("new", join(work, "second"));
    expect(other.key?.length).toBe(32);
    expect(other.key).not.toEqual(key);
  });

  test("is still given when an operator has added a recovery key", async () => {
    const header = await changed("recovery", async (path) => {
      const [old, added] = [join(work, "old"), join(work, "added")];
      await writeFile(old, key, { mode: 0o600 });
      await writeFile(added, "a recovery key", { mode: 0o600 });
      const form = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--hash", "sha256"];
      await cryptsetup("luksAddKey", ...form, "--key-file", old, path, added);
    });
    expect(await ask("find", header)).toEqual({ key, said: "" });
  });

  test.each([
    // A keyslot that any key opens.
    [
      "nothing that encrypts a keyslot",
      "encryption",
      '"aes-xts-plain64","key_size":64',
      '"cipher_null-ecb","key_size":64',
    ],
    [
      "a segment that is not encrypted",
      "encryption",
      '"aes-xts-plain64","sector_size"',
      '"cipher_null-ecb","sector_size"',
    ],
    ["a hash that is weak", "hash", '"hash":"sha256","iterations":1000', '"hash":"crc32c","iterations":1000'],
  ])("is not given for a header with %s", async (_, what, from, to) => {
    const header = await changed(`weak ${to}`.replaceAll(/[^a-z ]/g, ""), (path) => edit(path, from, to));
    const { key: found, said } = await ask("find", header);
    expect(found).toBeUndefined();
    expect(said).toContain(`mos: the header of the state has a ${what} that it was not made with`);
  });

  test("is not given for a key that a password uses, which somebody has made with this TPM", async () => {
    const own = join(work, "own");
    await mkdir(own);
    const files = ["-u", join(own, "pub"), "-r", join(own, "priv")];
    const attributes = "fixedtpm|fixedparent|sensitivedataorigin|sign|noda|userwithauth";
    await tpm.tool("tpm2_create", "-Q", "-C", "0x81000001", "-G", "hmac:sha256", "-a", attributes, ...files);
    const header = await changed("own-key", async (path) => {
      await replaceToken(path, {
        public: (await readFile(join(own, "pub")))
          .toString("base64")
          .replaceAll("+", "-")
          .replaceAll("/", "_"),
        private: (await readFile(join(own, "priv")))
          .toString("base64")
          .replaceAll("+", "-")
          .replaceAll("/", "_"),
      });
    });
    const { key: found, said } = await ask("find", header);
    expect(found).toBeUndefined();
    expect(said).toContain("or its key is not one that this TPM has made");
  });

  test.each([
    ["no name of a key", (path: string) => cryptsetup("token", "remove", "--token-id", "0", path)],
    [
      "two of them",
      async (path: string) => {
        const { stdout } = await cryptsetup("token", "export", "--token-id", "0", path);
        await run("cryptsetup", ["token", "import", "--json-file", "-", path], { stdin: stdout });
      },
    ],
    ["one that is no base64url", (path: string) => replaceToken(path, { public: "a b" })],
    ["nothing that can be read", (path: string) => truncate(path, 4096)],
  ])("is not given for a header with %s", async (what, change) => {
    const { key: found, said } = await ask(
      "find",
      await changed(`bad ${what}`, async (path) => void (await change(path))),
    );
    expect(found).toBeUndefined();
    expect(said).toContain("mos: the header of the state");
  });

  test("is not given by another TPM", async () => {
    const place = join(work, "other");
    await mkdir(place);
    const other = await startSwtpm(place);
    try {
      await ask("new", join(work, "others"), other);
      const { key: found, said } = await ask("find", good, other);
      expect(found).toBeUndefined();
      expect(said).toContain("the key of the state is not of this TPM");
    } finally {
      await other.stop();
    }
  });

  test("is not given once PCR 7 has another value, until the machine starts anew", async () => {
    await tpm.tool("tpm2_pcrextend", `7:sha256=${"1".repeat(64)}`);
    const { key: found, said } = await ask("find", good);
    expect(found).toBeUndefined();
    expect(said).toContain("PCR 7 is not the one that the state was encrypted under");
    await tpm.restart();
    expect((await ask("find", good)).key).toEqual(key);
  });
});
