import { execFile } from "node:child_process";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { readDb, readDbx } from "../../../src/efi/db.ts";
import { parseGuid } from "../../../src/efi/guid.ts";
import { readSecureBootState } from "../../../src/efi/secure-boot.ts";
import { encodeSignatureLists, listOf, signatureTypes } from "../../../src/efi/signature-list.ts";
import { readVariable, variables, writeVariable } from "../../../src/efi/variable.ts";
import { temporaryDirectory } from "../../support.ts";

const execute = promisify(execFile);
const owner = parseGuid("11111111-2222-3333-4444-555566667777");

const files = {
  secureBoot: "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
  setupMode: "SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c",
  db: "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
  dbx: "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
};

function fileContent(attributes: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(attributes, 0, 0, 0), data]);
}

/** A directory as efivarfs shows it. */
async function efivars(content: Partial<Record<keyof typeof files, Uint8Array>>): Promise<string> {
  const directory = await temporaryDirectory();
  for (const [name, bytes] of Object.entries(content)) {
    await writeFile(join(directory, files[name as keyof typeof files]), bytes);
  }
  return directory;
}

const on = fileContent(6, Uint8Array.of(1));
const off = fileContent(6, Uint8Array.of(0));

describe("the state of Secure Boot", () => {
  test.each([
    ["enabled", { secureBoot: on, setupMode: off }],
    ["disabled", { secureBoot: off, setupMode: off }],
    ["setup-mode", { secureBoot: off, setupMode: on }],
  ] as const)("is %s when the firmware says so", async (kind, content) => {
    expect(await readSecureBootState(await efivars(content))).toMatchObject({ kind });
  });

  test.each([
    ["without the variables", {}, "cannot find the EFI variable SecureBoot"],
    ["without SetupMode", { secureBoot: on }, "cannot find the EFI variable SetupMode"],
    ["with an empty variable", { secureBoot: new Uint8Array(), setupMode: off }, "it is empty"],
    ["with attributes only", { secureBoot: on.subarray(0, 4), setupMode: off }, "it is empty"],
    ["with two bytes", { secureBoot: fileContent(6, Uint8Array.of(1, 1)), setupMode: off }, "one byte"],
    ["with a 2", { secureBoot: fileContent(6, Uint8Array.of(2)), setupMode: off }, "one byte"],
    [
      "with a variable that somebody made",
      { secureBoot: fileContent(7, Uint8Array.of(1)), setupMode: off },
      "its attributes are 0x7, and must be 0x6",
    ],
    ["with a contradiction", { secureBoot: on, setupMode: on }, "says both"],
  ] as const)("is not verified %s", async (_what, content, why) => {
    expect(await readSecureBootState(await efivars(content))).toEqual({
      kind: "unverified",
      why: expect.stringContaining(why),
    });
  });

  test("is not verified where there is no EFI at all", async () => {
    const { kind } = await readSecureBootState(join(await temporaryDirectory(), "efivars"));
    expect(kind).toBe("unverified");
  });

  test("is not verified when the variable cannot be read", async () => {
    const directory = await efivars({ setupMode: off });
    await mkdir(join(directory, files.secureBoot));
    expect(await readSecureBootState(directory)).toEqual({
      kind: "unverified",
      why: "Not verified: cannot read the EFI variable SecureBoot (EISDIR).",
    });
  });
});

describe("db", () => {
  const certificates = Array.from({ length: 9 }, (_, i) => new Uint8Array(1000 + i).fill(i));
  const lists = [
    ...certificates.map((data) => listOf(signatureTypes.x509, { owner, data })),
    listOf(signatureTypes.sha256, { owner, data: new Uint8Array(32).fill(9) }),
  ];

  test("of more than 4 KiB gives every certificate with its owner, in order", async () => {
    const directory = await efivars({ db: fileContent(0x27, encodeSignatureLists(lists)) });
    const found = await readDb(directory);
    expect(found.map(({ owner: by }) => by)).toEqual(certificates.map(() => owner));
    expect(found.map(({ certificate }) => [...certificate])).toEqual(certificates.map((one) => [...one]));
  });

  test("that the firmware does not protect is refused", async () => {
    const directory = await efivars({ db: fileContent(0x07, encodeSignatureLists(lists)) });
    await expect(readDb(directory)).rejects.toMatchObject({ code: "efi-variable-invalid" });
  });

  test("that is missing, damaged or too large is refused by name", async () => {
    await expect(readDb(await efivars({}))).rejects.toMatchObject({ code: "efi-variable-missing" });
    const damaged = encodeSignatureLists(lists).subarray(0, -1);
    await expect(readDb(await efivars({ db: fileContent(0x27, damaged) }))).rejects.toMatchObject({
      code: "efi-variable-invalid",
      about: "db",
    });
    const large = fileContent(0x27, new Uint8Array(1024 * 1024 + 1));
    await expect(readDb(await efivars({ db: large }))).rejects.toMatchObject({
      code: "efi-variable-invalid",
    });
  });

  test.skipIf(process.getuid?.() === 0)("that may not be read is unreadable", async () => {
    const directory = await efivars({ db: fileContent(0x27, encodeSignatureLists(lists)) });
    await chmod(join(directory, files.db), 0);
    await expect(readDb(directory)).rejects.toMatchObject({ code: "efi-unreadable" });
  });

  test("is complemented by dbx, whose absence revokes nothing", async () => {
    expect((await readDbx(await efivars({}))).imageHashes.size).toBe(0);
    const revoked = await readDbx(await efivars({ dbx: fileContent(0x27, encodeSignatureLists(lists)) }));
    expect([...revoked.imageHashes]).toEqual(["09".repeat(32)]);
    expect(revoked.certificates).toHaveLength(9);
    const damaged = fileContent(0x27, Uint8Array.of(1));
    await expect(readDbx(await efivars({ dbx: damaged }))).rejects.toMatchObject({
      code: "efi-variable-invalid",
    });
  });
});

describe("writing a variable", () => {
  test("puts attributes and data into the file, and reads back", async () => {
    const directory = await temporaryDirectory();
    await writeVariable(directory, variables.db, Uint8Array.of(1, 2, 3));
    expect([...(await readFile(join(directory, files.db)))]).toEqual([0x27, 0, 0, 0, 1, 2, 3]);
    expect([...(await readVariable(directory, variables.db))]).toEqual([1, 2, 3]);
  });

  test("refuses what would delete it", async () => {
    await expect(
      writeVariable(await temporaryDirectory(), variables.db, new Uint8Array()),
    ).rejects.toMatchObject({ code: "efi-variable-invalid" });
  });

  test("says what the system answered", async () => {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, files.db));
    await expect(writeVariable(directory, variables.db, Uint8Array.of(1))).rejects.toMatchObject({
      code: "io-failed",
      message: "cannot write the EFI variable db (EISDIR)",
    });
  });

  test("lifts the immutable flag for the write and sets it again", async (context) => {
    const directory = await temporaryDirectory();
    const path = join(directory, files.db);
    await writeFile(path, fileContent(0x27, Uint8Array.of(1)));
    const flagged = await execute("chattr", ["+i", path]).catch(() => undefined);
    if (flagged === undefined) return context.skip("this filesystem or user has no immutable flag");
    try {
      await writeVariable(directory, variables.db, Uint8Array.of(2));
      expect([...(await readVariable(directory, variables.db))]).toEqual([2]);
      expect((await execute("lsattr", [path])).stdout.split(" ")[0]).toContain("i");
      await expect(writeFile(path, "")).rejects.toThrow();
    } finally {
      await execute("chattr", ["-i", path]);
    }
  });
});
