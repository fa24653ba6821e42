// The few calls of the C library that Node does not offer, through node:ffi: advisory locks that the kernel
// drops when their holder dies, the datagram that sd_notify(3) is, the immutable flag of a file, the exchange of two
// names, and the kernel's keyring. The only file that needs node:ffi.
import { dlopen } from "node:ffi";

const { functions } = dlopen("libc.so.6", {
  flock: { arguments: ["int32", "int32"], return: "int32" },
  socket: { arguments: ["int32", "int32", "int32"], return: "int32" },
  sendto: { arguments: ["int32", "buffer", "uint64", "int32", "buffer", "uint32"], return: "int64" },
  close: { arguments: ["int32"], return: "int32" },
  renameat2: { arguments: ["int32", "buffer", "int32", "buffer", "uint32"], return: "int32" },
  // Variadic in C; with one pointer the calling conventions of x86-64 and of AArch64 Linux make no difference.
  ioctl: { arguments: ["int32", "uint64", "buffer"], return: "int32" },
  syscall: { arguments: ["int64", "buffer", "buffer", "buffer", "uint64", "int64"], return: "int64" },
});

// <sys/file.h>, <sys/socket.h>, <bits/socket.h> of Linux, the same on every architecture that mos runs on.
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** sizeof(sun_path) of sockaddr_un, unix(7). */
const sunPathMax = 108;

// <linux/fs.h>: _IOR('f', 1, long), _IOW('f', 2, long) of a 64-bit kernel; the argument is an int all the same.
const FS_IOC_GETFLAGS = 0x80086601n;
const FS_IOC_SETFLAGS = 0x40086602n;
const FS_IMMUTABLE_FL = 0x10;

/**
 * Sets or lifts the immutable flag of an open file.
 * @returns whether the flag was changed; false where the filesystem has no such flag, or the caller may not
 */
export function changeImmutable(fd: number, immutable: boolean): boolean {
  const flags = Buffer.alloc(8);
  if (functions.ioctl(fd, FS_IOC_GETFLAGS, flags) !== 0) return false;
  const before = flags.readUInt32LE(0);
  const after = immutable ? before | FS_IMMUTABLE_FL : before & ~FS_IMMUTABLE_FL;
  if (after === before) return false;
  flags.writeUInt32LE(after >>> 0, 0);
  return functions.ioctl(fd, FS_IOC_SETFLAGS, flags) === 0;
}

// <fcntl.h>, <linux/fs.h>
const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/**
 * renameat2(2) with RENAME_EXCHANGE: two names change places, at one instant.
 * @returns whether they did; false where one is missing, or the filesystem cannot
 */
export function exchangeNames(one: string, other: string): boolean {
  const text = (path: string): Buffer => Buffer.from(`${path}\0`);
  return functions.renameat2(AT_FDCWD, text(one), AT_FDCWD, text(other), RENAME_EXCHANGE) === 0;
}

/** Numbers of add_key(2), which the C library has no function for. */
const addKeyNumbers: Readonly<Partial<Record<NodeJS.Architecture, bigint>>> = { x64: 248n, arm64: 217n };
/** KEY_SPEC_USER_KEYRING of <linux/keyctl.h>: the keyring of the user that this process belongs to. */
const userKeyring = -4n;

/**
 * add_key(2): puts a secret into the kernel's keyring of this user, or replaces it there.
 * @returns whether the kernel took it
 */
export function addUserKey(description: string, secret: Uint8Array): boolean {
  const number = addKeyNumbers[process.arch];
  if (number === undefined) return false;
  const text = (value: string): Buffer => Buffer.from(`${value}\0`);
  const length = BigInt(secret.length);
  return functions.syscall(number, text("user"), text(description), secret, length, userKeyring) > 0n;
}

/** flock(2), exclusive and without waiting. False when somebody else holds it. */
export function tryLockExclusive(fd: number): boolean {
  return functions.flock(fd, LOCK_EX | LOCK_NB) === 0;
}

/** flock(2), together with other readers and without waiting. False when somebody holds it exclusively. */
export function tryLockShared(fd: number): boolean {
  return functions.flock(fd, LOCK_SH | LOCK_NB) === 0;
}

/** Sends one datagram to a Unix socket; a path that begins with '@' is in the abstract namespace, unix(7). */
export function sendDatagram(path: string, text: string): boolean {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length >= sunPathMax) return false;
  const address = Buffer.alloc(2 + sunPathMax);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(name, 2);
  if (path.startsWith("@")) address[2] = 0;
  const payload = Buffer.from(text);
  const socket = functions.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  const length = 2 + name.length + (path.startsWith("@") ? 0 : 1);
  const sent = functions.sendto(socket, payload, BigInt(payload.length), MSG_NOSIGNAL, address, length);
  functions.close(socket);
  return Number(sent) === payload.length;
}
