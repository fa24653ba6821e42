// What an initrd is compressed with, as the kernel sees it (Documentation/driver-api/early-userspace/
// buffer-format.rst): any number of cpio archives and compressed archives one after the other, zeros between them.
// systemd-stub adds archives of its own behind it, with credentials and the PCR signature; a kernel that gives up
// on what is before them never sees those.
import { MosError } from "../errors/mos-error.ts";

const compressions = [
  { name: "gzip", magic: [0x1f, 0x8b] },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: "lzma", magic: [0x5d, 0x00, 0x00] },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68] },
  { name: "lzo", magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: "lz4", magic: [0x02, 0x21, 0x4c, 0x18] }, // the legacy frame, which the kernel reads
  { name: "lz4", magic: [0x04, 0x22, 0x4d, 0x18] }, // the current frame
] as const;

const cpioHeaderSize = 110;
const cpioName = "TRAILER!!!";
/** An early archive holds microcode and firmware; its headers are few. */
const maxCpioEntries = 200_000;

const aligned = (at: number): number => Math.ceil(at / 4) * 4;

/** Where the cpio archive that begins here ends; undefined when it does not hold together. */
function endOfCpio(bytes: Uint8Array, start: number): number | undefined {
  let at = start;
  for (let entry = 0; entry < maxCpioEntries; entry++) {
    const header = Buffer.from(bytes.subarray(at, at + cpioHeaderSize)).toString("latin1");
    if (!/^07070[12][0-9A-Fa-f]{104}$/.test(header)) return undefined;
    const field = (index: number): number => Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const [fileSize, nameSize] = [field(6), field(11)];
    const nameAt = at + cpioHeaderSize;
    const name = Buffer.from(bytes.subarray(nameAt, nameAt + nameSize - 1)).toString("latin1");
    at = aligned(aligned(nameAt + nameSize - start) + fileSize) + start;
    if (at > bytes.length + 3) return undefined;
    if (name === cpioName) return at;
  }
  return undefined;
}

/**
 * The compression of the first compressed part of an initrd; undefined when none is compressed, or when what is
 * there is not known. What is behind a compressed part is not looked at.
 */
export function initrdCompression(bytes: Uint8Array): (typeof compressions)[number]["name"] | undefined {
  let at = 0;
  for (;;) {
    while (bytes[at] === 0) at++;
    const rest = bytes.subarray(at);
    const found = compressions.find(({ magic }) => magic.every((byte, index) => rest[index] === byte));
    if (found !== undefined || rest.length === 0) return found?.name;
    const end = endOfCpio(bytes, at);
    if (end === undefined) return undefined;
    at = end;
  }
}

/**
 * Refuses an initrd that cannot be part of a UKI.
 * @throws MosError `initrd-unusable`
 */
export function checkInitrd(bytes: Uint8Array, about: string): void {
  if (bytes.length === 0) throw new MosError("initrd-unusable", "cannot use an empty initrd", { about });
  if (initrdCompression(bytes) !== "lz4") return;
  throw new MosError(
    "initrd-unusable",
    "cannot put an lz4-compressed initrd into a UKI: the kernel fails to unpack what is behind it, and the stub puts the PCR signature and the credentials there, which then never arrive",
    { about },
  );
}
