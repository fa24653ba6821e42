// What makes a disk image an optical disc as well: an empty ISO 9660 file system (ECMA-119) between the partition table
// and the first partition, and a boot catalog ("El Torito" Bootable CD-ROM Format Specification 1.0; UEFI 2.10, section
// 13.3.2.1) that leads firmware to the EFI system partition. The same bytes start from a USB stick and from a disc.

const sector = 2048;
/** Where volume descriptors begin (ECMA-119, 6.2.1): what is before is for others, here for the partition table. */
const first = 16;
const at = { primary: 16, boot: 17, end: 18, root: 19, catalog: 20, pathsLittle: 21, pathsBig: 22, next: 23 };

/** What the file system is called, by which the initrd knows the disc (initrd-hooks/dracut/60mos/mos-medium.sh). */
const discLabel = "MOS_INSTALL";

/** A number in both byte orders, as ECMA-119, 7.2.3 and 7.3.3 have it. */
function both16(to: Buffer, offset: number, value: number): void {
  to.writeUInt16LE(value, offset);
  to.writeUInt16BE(value, offset + 2);
}

function both32(to: Buffer, offset: number, value: number): void {
  to.writeUInt32LE(value, offset);
  to.writeUInt32BE(value, offset + 4);
}

/** Seven bytes (ECMA-119, 9.1.5). */
function shortDate(time: Date): Buffer {
  const date = [time.getUTCFullYear() - 1900, time.getUTCMonth() + 1, time.getUTCDate()];
  return Buffer.from([...date, time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds(), 0]);
}

/** Sixteen digits and the zone (ECMA-119, 8.4.26.1). */
function longDate(time: Date): Buffer {
  const digits = time.toISOString().replaceAll(/\D/g, "").slice(0, 14);
  return Buffer.concat([Buffer.from(`${digits}00`, "latin1"), Buffer.from([0])]);
}

/** A directory's entry for itself (0) or for the one above (1), which is itself, too (ECMA-119, 9.1). */
function entry(name: 0 | 1, time: Date): Buffer {
  const record = Buffer.alloc(34);
  record[0] = record.length;
  both32(record, 2, at.root);
  both32(record, 10, sector);
  shortDate(time).copy(record, 18);
  record[25] = 2; // a directory
  both16(record, 28, 1);
  record[32] = 1;
  record[33] = name;
  return record;
}

function descriptor(type: number): Buffer {
  const made = Buffer.alloc(sector);
  made[0] = type;
  made.write("CD001", 1, "latin1");
  made[6] = 1;
  return made;
}

function primary(size: number, time: Date): Buffer {
  const made = descriptor(1);
  made.fill(" ", 8, 72, "latin1");
  made.write(discLabel, 40, "latin1");
  both32(made, 80, size);
  both16(made, 120, 1);
  both16(made, 124, 1);
  both16(made, 128, sector);
  both32(made, 132, 10); // one record of the path table
  made.writeUInt32LE(at.pathsLittle, 140);
  made.writeUInt32BE(at.pathsBig, 148);
  entry(0, time).copy(made, 156);
  made.fill(" ", 190, 813, "latin1");
  for (const offset of [813, 830]) longDate(time).copy(made, offset);
  for (const offset of [847, 864]) made.fill("0", offset, offset + 16, "latin1");
  made[881] = 1;
  return made;
}

function bootRecord(): Buffer {
  const made = descriptor(0);
  made.write("EL TORITO SPECIFICATION", 7, "latin1");
  made.writeUInt32LE(at.catalog, 71);
  return made;
}

function catalog(bootSector: number): Buffer {
  const made = Buffer.alloc(sector);
  made[0] = 1;
  made[1] = 0xef; // for EFI
  made.set([0x55, 0xaa], 30);
  let sum = 0;
  for (let word = 0; word < 32; word += 2) sum += made.readUInt16LE(word);
  made.writeUInt16LE(-sum & 0xffff, 28);
  made[32] = 0x88; // can be started, without emulation
  // Of no stated length: the EFI system partition may be larger than the field can say, and ends where it says itself.
  made.writeUInt16LE(0, 38);
  made.writeUInt32LE(bootSector, 40);
  return made;
}

/**
 * The bytes, and where in the disk image they belong; before and behind them nothing changes.
 * @param bytes of the image, a multiple of 2048
 * @param boot where the EFI system partition begins in it, in bytes, a multiple of 2048 and behind what is returned
 * @param epoch seconds: the time of everything in it
 */
export function opticalDisc(
  bytes: number,
  boot: number,
  epoch: number,
): { readonly offset: number; readonly content: Buffer } {
  const time = new Date(epoch * 1000);
  const content = Buffer.alloc((at.next - first) * sector);
  const put = (number: number, what: Buffer): void => {
    what.copy(content, (number - first) * sector);
  };
  put(at.primary, primary(bytes / sector, time));
  put(at.boot, bootRecord());
  put(at.end, descriptor(255));
  put(at.root, Buffer.concat([entry(0, time), entry(1, time)]));
  put(at.catalog, catalog(boot / sector));
  // The root directory only (ECMA-119, 9.4): length of its name, where it is, and that it is its own parent.
  const paths = Buffer.alloc(10);
  paths[0] = 1;
  paths.writeUInt32LE(at.root, 2);
  paths.writeUInt16LE(1, 6);
  put(at.pathsLittle, paths);
  const big = Buffer.from(paths);
  big.writeUInt32BE(at.root, 2);
  big.writeUInt16BE(1, 6);
  put(at.pathsBig, big);
  return { offset: first * sector, content };
}
