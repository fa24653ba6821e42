import { createHash } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import type { Bank } from "../../../src/efi/bank.ts";
import { parseEventLog, replayEventLog } from "../../../src/efi/event-log.ts";
import { explainPcrs } from "../../../src/efi/explain-pcrs.ts";
import { encodeGuid, guids, parseGuid } from "../../../src/efi/guid.ts";
import { u32le } from "../../../src/efi/little-endian.ts";
import { encodeVariableData } from "../../../src/efi/measured.ts";
import { certificateLists, directDigests, ovmfDbx, pcr7Of } from "../../../src/efi/pcr7.ts";
import { imageLoadEvent, type WrittenEvent, writeEvent, writeLog, writeSpecId } from "./event-log-writer.ts";
import { type FirmwareKey, firmwareKey } from "./firmware-keys.ts";
import boot from "./ovmf-boot.json" with { type: "json" };

const separator = new Uint8Array(4);
const driverConfig = 0x8000_0001;
const authority = 0x8000_00e0;
const owner = parseGuid("11111111-2222-3333-4444-555566667777");

let db: FirmwareKey;
let events: readonly WrittenEvent[];
beforeAll(async () => {
  db = await firmwareKey({ subject: "CN=UEFI DB" });
  const entry = { owner, der: db.certificate.der };
  const variable = (name: string, guid: typeof guids.global, data: Uint8Array) => ({
    pcr: 7,
    type: driverConfig,
    data: encodeVariableData({ name, guid, data }),
  });
  events = [
    { pcr: 0, type: 0x08, data: Buffer.from("edk2\0", "utf16le") },
    variable("SecureBoot", guids.global, Uint8Array.of(1)),
    variable("PK", guids.global, certificateLists([entry])),
    variable("KEK", guids.global, certificateLists([entry])),
    variable("db", guids.imageSecurity, certificateLists([entry])),
    variable("dbx", guids.imageSecurity, ovmfDbx),
    { pcr: 7, type: 4, data: separator },
    {
      ...{ pcr: 7, type: authority },
      data: encodeVariableData({
        ...{ name: "db", guid: guids.imageSecurity },
        data: Buffer.concat([encodeGuid(owner), entry.der]),
      }),
    },
    {
      pcr: 4,
      type: 0x8000_0003,
      data: imageLoadEvent("\\EFI\\BOOT\\BOOTX64.EFI"),
      measured: Uint8Array.of(1),
    },
    { pcr: 11, type: 0x0d, data: Buffer.from(".linux\0", "utf16le"), measured: Buffer.from("kernel") },
    { pcr: 0, type: 3, data: Buffer.from("nothing") },
  ];
});

const read = (bytes: Uint8Array) => parseEventLog(bytes, "log");

describe("an event log", () => {
  test("leads to the PCR 7 that was predicted for it", () => {
    const entry = { owner, der: db.certificate.der };
    const databases = { pk: [entry], kek: [entry], db: [entry], dbx: ovmfDbx };
    const replayed = replayEventLog(read(writeLog(events)), "sha256");
    expect(replayed.get(7)).toBe(pcr7Of(directDigests(databases, entry)));
  });

  test("leads to a value in each of its banks", () => {
    const banks: readonly Bank[] = ["sha1", "sha256", "sha384", "sha512"];
    const log = read(writeLog([{ pcr: 3, type: 4, data: separator }], banks));
    expect(log.banks).toEqual(banks);
    for (const bank of banks) {
      const digest = createHash(bank).update(separator).digest();
      const value = createHash(bank).update(new Uint8Array(digest.length)).update(digest).digest("hex");
      expect(replayEventLog(log, bank)).toEqual(new Map([[3, value]]));
    }
  });

  test("that tells of another start-up locality begins PCR 0 with it", () => {
    const locality = Buffer.from("StartupLocality\0\x03");
    const log = read(
      writeLog([
        { pcr: 0, type: 3, data: locality },
        { pcr: 0, type: 4, data: separator },
      ]),
    );
    const before = Buffer.concat([new Uint8Array(31), Uint8Array.of(3)]);
    const digest = createHash("sha256").update(separator).digest();
    expect(replayEventLog(log, "sha256").get(0)).toBe(
      createHash("sha256").update(before).update(digest).digest("hex"),
    );
  });

  test("is read back as it was written", () => {
    const event = fc.record({
      pcr: fc.nat(23),
      type: fc.nat(0xffff_ffff),
      data: fc.uint8Array({ maxLength: 60 }),
    });
    const banks = fc.subarray<Bank>(["sha1", "sha256", "sha384", "sha512"], { minLength: 1 });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 10 }), banks, (written, used) => {
        const noLocality = written.filter(({ type }) => type !== 3);
        const log = read(writeLog(noLocality, used));
        expect(log.events.map(({ pcr, type, data }) => ({ pcr, type, data: [...data] }))).toEqual(
          noLocality.map(({ pcr, type, data }) => ({ pcr, type, data: [...data] })),
        );
      }),
    );
  });

  const one: WrittenEvent = { pcr: 1, type: 4, data: separator };
  const good = writeLog([one]);
  const specIdSize = writeSpecId(["sha256"]).length;
  const changed = (at: number, value: number): Uint8Array => {
    const copy = Buffer.from(good);
    copy.writeUInt32LE(value, at);
    return copy;
  };
  test.each([
    ["nothing in it", new Uint8Array()],
    ["no Spec ID event", writeEvent(one, ["sha256"])],
    ["the Spec ID event of another format", changed(32, 0)],
    ["a Spec ID event with a digest", changed(8, 1)],
    ["a Spec ID event that is longer than the log", changed(28, 0xffff_ffff)],
    ["no algorithms", changed(32 + 24, 0)],
    ["absurdly many algorithms", changed(32 + 24, 0x1000_0000)],
    ["SHA-256 digests of 20 bytes", changed(32 + 28, 0x0014_000b)],
    ["an algorithm twice", writeLog([one], ["sha256", "sha256"])],
    ["a PCR that no TPM has", changed(specIdSize, 24)],
    ["an event with fewer digests", changed(specIdSize + 8, 0)],
    ["an event with absurdly many digests", changed(specIdSize + 8, 0xffff_ffff)],
    ["a digest of an algorithm that is not its", changed(specIdSize + 12, 0x04)],
    ["an event that is longer than the log", changed(good.length - 8, 5)],
    ["an absurdly long event", changed(good.length - 8, 0xffff_ffff)],
    ["a byte more", Buffer.concat([good, new Uint8Array(1)])],
    [
      "two start-up localities",
      writeLog(
        [0, 3].map((l) => ({
          pcr: 0,
          type: 3,
          data: Buffer.from(`StartupLocality\0${String.fromCharCode(l)}`),
        })),
      ),
    ],
  ])("with %s is refused", (_what, bytes) => {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: "event-log-invalid", about: "log" }));
  });

  test("that ends anywhere but at the end of an event is refused", () => {
    for (let length = specIdSize + 1; length < good.length; length++) {
      expect(() => read(good.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "event-log-invalid" }),
      );
    }
  });

  test("of damaged bytes is read or refused, and explained without failing", () => {
    const bytes = writeLog(events);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length - 1), (at, value, second) => {
        const copy = Buffer.from(bytes);
        copy[at] = value;
        copy[second] = value;
        try {
          explainPcrs(read(copy), "sha256", new Map());
        } catch (error) {
          expect(error).toMatchObject({ code: "event-log-invalid" });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("the log of a real boot", () => {
  const log = parseEventLog(Buffer.from(boot.log, "base64"), "log");
  const actual = new Map(Object.entries(boot.pcrs).map(([pcr, value]) => [Number(pcr), value]));
  const explained = explainPcrs(log, "sha256", actual);

  test("leads to what the TPM had, in every PCR that it speaks of", () => {
    const verdicts = explained.map(({ pcr, verdict }) => [pcr, verdict]);
    expect(verdicts).toEqual(
      Array.from({ length: 16 }, (_, pcr) => [pcr, pcr === 10 ? "unlogged" : "matches"]),
    );
  });

  test("says what was measured, and proves what can be proven", () => {
    const texts = (pcr: number) => explained[pcr]?.events.map(({ text }) => text);
    expect(texts(4)?.at(-1)).toBe("\\EFI\\BOOT\\BOOTX64.EFI");
    expect(texts(7)).toEqual([
      ...["SecureBoot is 1", "PK with 1 entries", "KEK with 1 entries", "db with 3 entries"],
      ...["dbx with 1 entries", "end of the firmware's own measurements", "db vouched: CN=UKI Production"],
    ]);
    expect(explained[7]?.events.every(({ isProven }) => isProven)).toBe(true);
    expect(texts(11)?.filter((_, index) => index % 2 === 0)).toEqual([
      ...[".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat", ".pcrpkey"],
    ]);
  });

  test("does not lead there with one byte of one digest changed", () => {
    const bytes = Buffer.from(boot.log, "base64");
    const digest = Buffer.from(log.events.find(({ pcr }) => pcr === 7)?.digests.get("sha256") ?? []);
    const at = bytes.indexOf(digest);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const changed = explainPcrs(parseEventLog(bytes, "log"), "sha256", actual);
    expect(changed.filter(({ verdict }) => verdict === "differs").map(({ pcr }) => pcr)).toEqual([7]);
    expect(changed[7]?.events[0]?.isProven).toBe(false);
  });
});

describe("the explanation of PCRs", () => {
  test("names what was measured", () => {
    const [pcr0, pcr4, pcr7, pcr11] = explainPcrs(read(writeLog(events)), "sha256", new Map());
    const texts = (explained: typeof pcr7) => explained?.events.map(({ type, text }) => `${type}: ${text}`);
    expect(texts(pcr0)).toEqual(["EV_S_CRTM_VERSION: edk2"]);
    expect(texts(pcr4)).toEqual(["EV_EFI_BOOT_SERVICES_APPLICATION: \\EFI\\BOOT\\BOOTX64.EFI"]);
    expect(texts(pcr7)).toEqual([
      "EV_EFI_VARIABLE_DRIVER_CONFIG: SecureBoot is 1",
      "EV_EFI_VARIABLE_DRIVER_CONFIG: PK with 1 entries",
      "EV_EFI_VARIABLE_DRIVER_CONFIG: KEK with 1 entries",
      "EV_EFI_VARIABLE_DRIVER_CONFIG: db with 1 entries",
      "EV_EFI_VARIABLE_DRIVER_CONFIG: dbx with 1 entries",
      "EV_SEPARATOR: end of the firmware's own measurements",
      "EV_EFI_VARIABLE_AUTHORITY: db vouched: CN=UEFI DB",
    ]);
    expect(texts(pcr11)).toEqual(["EV_IPL: .linux"]);
  });

  test("says where the log and the TPM differ, and where nothing is known", () => {
    const log = read(writeLog(events));
    const right = replayEventLog(log, "sha256");
    const actual = new Map([
      [0, (right.get(0) ?? "").toUpperCase()],
      [7, "00".repeat(32)],
      [14, "00".repeat(32)],
      [15, "11".repeat(32)],
      [17, "ff".repeat(32)],
    ]);
    const verdicts = explainPcrs(log, "sha256", actual).map(({ pcr, verdict }) => [pcr, verdict]);
    expect(verdicts).toEqual([
      [0, "matches"],
      [4, "unknown"],
      [7, "differs"],
      [11, "unknown"],
      [14, "matches"],
      [15, "unlogged"],
      [17, "matches"],
    ]);
  });

  test("tells when the data of an event is not what was measured", () => {
    const data = encodeVariableData({ name: "SecureBoot", guid: guids.global, data: Uint8Array.of(1) });
    const lie = { pcr: 7, type: driverConfig, data, measured: Uint8Array.of(0) };
    const [pcr7] = explainPcrs(
      read(writeLog([lie, { pcr: 7, type: 4, data: separator }])),
      "sha256",
      new Map(),
    );
    expect(pcr7?.events.map(({ isProven }) => isProven)).toEqual([false, true]);
  });

  test("of data that makes no sense says so", () => {
    const [pcr7] = explainPcrs(
      read(writeLog([{ pcr: 7, type: driverConfig, data: u32le(7) }])),
      "sha256",
      new Map(),
    );
    expect(pcr7?.events[0]?.text).toBe("data that cannot be understood");
  });
});
