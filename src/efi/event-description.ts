// What an event of a boot log says, in words. Descriptions come from the event's data, which nothing protects by
// itself: `isProven` tells whether the data hashes to the digest that was measured.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { readCertificate } from "../trust/certificate.ts";
import type { LogEvent } from "./event-log.ts";
import { decodeGuid, guidSize } from "./guid.ts";
import { FieldReader } from "./little-endian.ts";
import type { VariableEvent } from "./measured.ts";
import { decodeSignatureLists } from "./signature-list.ts";

/** Names of TCG_EVENTTYPE (profile section 10.4.1, tables 27 and 28), and whether the digest is that of the data. */
const types: ReadonlyMap<number, { readonly name: string; readonly hashesData: boolean }> = new Map([
  [0x00, { name: "EV_PREBOOT_CERT", hashesData: false }],
  [0x01, { name: "EV_POST_CODE", hashesData: false }],
  [0x03, { name: "EV_NO_ACTION", hashesData: false }],
  [0x04, { name: "EV_SEPARATOR", hashesData: true }],
  [0x05, { name: "EV_ACTION", hashesData: true }],
  [0x06, { name: "EV_EVENT_TAG", hashesData: false }],
  [0x07, { name: "EV_S_CRTM_CONTENTS", hashesData: false }],
  [0x08, { name: "EV_S_CRTM_VERSION", hashesData: true }],
  [0x09, { name: "EV_CPU_MICROCODE", hashesData: false }],
  [0x0a, { name: "EV_PLATFORM_CONFIG_FLAGS", hashesData: false }],
  [0x0b, { name: "EV_TABLE_OF_DEVICES", hashesData: false }],
  [0x0c, { name: "EV_COMPACT_HASH", hashesData: false }],
  [0x0d, { name: "EV_IPL", hashesData: false }],
  [0x0e, { name: "EV_IPL_PARTITION_DATA", hashesData: false }],
  [0x0f, { name: "EV_NONHOST_CODE", hashesData: false }],
  [0x10, { name: "EV_NONHOST_CONFIG", hashesData: false }],
  [0x11, { name: "EV_NONHOST_INFO", hashesData: false }],
  [0x12, { name: "EV_OMIT_BOOT_DEVICE_EVENTS", hashesData: true }],
  [0x13, { name: "EV_POST_CODE2", hashesData: false }],
  [0x8000_0001, { name: "EV_EFI_VARIABLE_DRIVER_CONFIG", hashesData: true }],
  [0x8000_0002, { name: "EV_EFI_VARIABLE_BOOT", hashesData: false }],
  [0x8000_0003, { name: "EV_EFI_BOOT_SERVICES_APPLICATION", hashesData: false }],
  [0x8000_0004, { name: "EV_EFI_BOOT_SERVICES_DRIVER", hashesData: false }],
  [0x8000_0005, { name: "EV_EFI_RUNTIME_SERVICES_DRIVER", hashesData: false }],
  [0x8000_0006, { name: "EV_EFI_GPT_EVENT", hashesData: true }],
  [0x8000_0007, { name: "EV_EFI_ACTION", hashesData: true }],
  [0x8000_0008, { name: "EV_EFI_PLATFORM_FIRMWARE_BLOB", hashesData: false }],
  [0x8000_0009, { name: "EV_EFI_HANDOFF_TABLES", hashesData: false }],
  [0x8000_000a, { name: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", hashesData: false }],
  [0x8000_000b, { name: "EV_EFI_HANDOFF_TABLES2", hashesData: false }],
  [0x8000_000c, { name: "EV_EFI_VARIABLE_BOOT2", hashesData: true }],
  [0x8000_000d, { name: "EV_EFI_GPT_EVENT2", hashesData: true }],
  [0x8000_0010, { name: "EV_EFI_HCRTM_EVENT", hashesData: false }],
  [0x8000_00e0, { name: "EV_EFI_VARIABLE_AUTHORITY", hashesData: true }],
  [0x8000_00e1, { name: "EV_EFI_SPDM_FIRMWARE_BLOB", hashesData: false }],
]);

export interface EventDescription {
  readonly type: string;
  /** What the data says; empty where it says nothing that a person can read. */
  readonly text: string;
  /** Whether the data is what was measured; undefined for types whose digest is of something else. */
  readonly isProven: boolean | undefined;
}

function utf16(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf16le").replace(/\0+$/, "");
}

/** UEFI_VARIABLE_DATA, the inverse of encodeVariableData in measured.ts. @throws SyntaxError when it is malformed */
export function readVariableData(bytes: Uint8Array): VariableEvent {
  const reader = new FieldReader(bytes);
  const guid = decodeGuid(reader.take(guidSize, "the variable"));
  const nameLength = reader.u64("the variable");
  const dataLength = reader.u64("the variable");
  if (nameLength > bytes.length) throw new SyntaxError("the variable has an absurd name");
  const name = utf16(reader.take(nameLength * 2, "the variable"));
  const data = reader.take(dataLength, "the variable");
  reader.end("the variable");
  return { name, guid, data };
}

function subjectOf(der: Uint8Array): string {
  try {
    return readCertificate(der).subject.text;
  } catch (error) {
    if (error instanceof MosError) return "a certificate that mos does not accept";
    throw error;
  }
}

/** A variable of the configuration: its value when it is a switch, else what it lists. */
function describeVariable(bytes: Uint8Array): string {
  const { name, data } = readVariableData(bytes);
  if (data.length === 0) return `${name} is absent`;
  if (data.length === 1) return `${name} is ${data[0]}`;
  if (!["PK", "KEK", "db", "dbx"].includes(name)) return `${name}, ${data.length} bytes`;
  const entries = decodeSignatureLists(data, name).flatMap((list) => list.entries);
  return `${name} with ${entries.length} entries`;
}

/** The entry that vouched for a program: EFI_SIGNATURE_DATA, owner and certificate; or a plain variable of shim. */
function describeAuthority(bytes: Uint8Array): string {
  const { name, data } = readVariableData(bytes);
  const isCertificate = data.length > guidSize + 4 && data[guidSize] === 0x30;
  if (isCertificate) return `${name} vouched: ${subjectOf(data.subarray(guidSize))}`;
  return `${name}, ${data.length} bytes`;
}

/** The file names in a device path (UEFI 2.10 section 10.3.5.4); the rest of it is where the disk is. */
function filePaths(bytes: Uint8Array): string {
  const reader = new FieldReader(bytes);
  const names: string[] = [];
  while (reader.left > 0) {
    const kind = reader.u8("a device path");
    const subkind = reader.u8("a device path");
    const length = reader.u16("a device path");
    if (length < 4) throw new SyntaxError("a device path has a node of no length");
    const node = reader.take(length - 4, "a device path");
    if (kind === 0x04 && subkind === 0x04) names.push(utf16(node));
  }
  return names.join("");
}

/** UEFI_IMAGE_LOAD_EVENT (profile section 10.2.3). */
function describeImage(bytes: Uint8Array): string {
  const reader = new FieldReader(bytes);
  reader.take(16, "the image"); // where in memory, and how much
  reader.take(8, "the image"); // address it was linked for
  const length = reader.u64("the image");
  const path = filePaths(reader.take(length, "the image"));
  return path === "" ? "a program that is no file" : path;
}

function describeSeparator(bytes: Uint8Array): string {
  if (bytes.length !== 4) return `${bytes.length} bytes`;
  const value = Buffer.from(bytes).readUInt32LE(0);
  // Both values mean the same (profile section 10.4.1, EV_SEPARATOR).
  const isEnd = value === 0 || value === 0xffff_ffff;
  return isEnd ? "end of the firmware's own measurements" : "the firmware reports an error";
}

/** Text as boot loaders write it: UTF-16 (systemd-stub) or ASCII (GRUB); nothing when it is neither. */
function describeText(bytes: Uint8Array): string {
  const ascii = Buffer.from(bytes).toString("latin1").replace(/\0+$/, "");
  if (/^[\x20-\x7e]*$/.test(ascii)) return ascii;
  const wide = bytes.length % 2 === 0 ? utf16(bytes) : "";
  return /^[^\p{Cc}\p{Cs}]*$/u.test(wide) ? wide : "";
}

function textOf({ type, data }: LogEvent): string {
  switch (types.get(type)?.name) {
    case "EV_SEPARATOR":
      return describeSeparator(data);
    case "EV_EFI_VARIABLE_DRIVER_CONFIG":
    case "EV_EFI_VARIABLE_BOOT":
    case "EV_EFI_VARIABLE_BOOT2":
      return describeVariable(data);
    case "EV_EFI_VARIABLE_AUTHORITY":
      return describeAuthority(data);
    case "EV_EFI_BOOT_SERVICES_APPLICATION":
    case "EV_EFI_BOOT_SERVICES_DRIVER":
    case "EV_EFI_RUNTIME_SERVICES_DRIVER":
      return describeImage(data);
    case "EV_IPL":
    case "EV_ACTION":
    case "EV_EFI_ACTION":
    case "EV_S_CRTM_VERSION":
      return describeText(data);
    default:
      return "";
  }
}

/** Describes an event. Data that cannot be understood is said to be so: the log is still a log. */
export function describeEvent(event: LogEvent): EventDescription {
  const known = types.get(event.type);
  const type = known?.name ?? `0x${event.type.toString(16)}`;
  const digest = event.digests.get("sha256");
  const isProven =
    known?.hashesData === true && digest !== undefined
      ? Buffer.compare(createHash("sha256").update(event.data).digest(), digest) === 0
      : undefined;
  try {
    return { type, text: textOf(event), isProven };
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof MosError)) throw error;
    return { type, text: "data that cannot be understood", isProven };
  }
}
