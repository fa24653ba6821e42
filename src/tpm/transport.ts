// Carries whole commands to a TPM and whole answers back, each within a deadline. A transport that failed once is
// used no more: a late answer could be taken for the answer to another command.

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { formatTpmAddress, type TpmAddress } from "./address.ts";

/** Tag, size and code: what every command and answer begins with (Part 1, section 18.1). */
export const headerSize = 10;
/** TPM_PT_MAX_RESPONSE_SIZE of real TPMs and swtpm is 4096. */
const maxAnswer = 4096;

export interface Transport {
  /**
   * Sends one command and returns the answer.
   * @param deadline on the clock of performance.now(), milliseconds
   * @throws MosError `tpm-timeout`, `tpm-unreachable`, `tpm-response-malformed`
   */
  exchange(command: Uint8Array, deadline: number): Promise<Uint8Array>;
  /** Lets go of the TPM; nothing keeps the process alive afterwards. */
  close(): Promise<void>;
}

/**
 * Opens the way to a TPM.
 * @param deadlineMs for connecting
 * @throws MosError `tpm-missing`, `tpm-unreachable`, `tpm-timeout`
 */
export async function openTransport(address: TpmAddress, deadlineMs: number): Promise<Transport> {
  const name = formatTpmAddress(address);
  try {
    if (address.kind === "device") {
      return new DeviceTransport(await openDevice(address.path, name), name);
    }
    return new SocketTransport(await connect(address, deadlineMs), name);
  } catch (error) {
    if (error instanceof MosError) throw error;
    throw openError(error, name);
  }
}

async function openDevice(path: string, name: string): Promise<FileHandle> {
  // O_NOCTTY: whatever is at this path, it must not become our terminal.
  const handle = await open(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);
  if ((await handle.stat()).isCharacterDevice()) return handle;
  // Commands would be written over what is in the file.
  await handle.close();
  throw new MosError("tpm-unreachable", `cannot open the TPM ${name}: it is not a device`, { about: name });
}

function openError(error: unknown, name: string): MosError {
  const code = systemCode(error);
  const details = { about: name, cause: error };
  if (code === "ENOENT" || code === "ENODEV" || code === "ENXIO") {
    return new MosError("tpm-missing", `cannot open the TPM ${name}: it is not there`, details);
  }
  if (code === "EACCES" || code === "EPERM") {
    return new MosError("permission-denied", `cannot open the TPM ${name}: not permitted`, details);
  }
  const why = code === "EBUSY" ? "another program holds it" : (code ?? "unknown error");
  return new MosError("tpm-unreachable", `cannot open the TPM ${name}: ${why}`, details);
}

function connect(address: Exclude<TpmAddress, { kind: "device" }>, deadlineMs: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket =
    address.kind === "socket"
      ? createConnection({ path: address.path })
      : createConnection({ host: address.host, port: address.port, noDelay: true });
  const timer = setTimeout(
    () => socket.destroy(timeout(formatTpmAddress(address), "the connection")),
    Math.max(1, deadlineMs),
  );
  socket.once("error", reject);
  socket.once("connect", () => {
    socket.off("error", reject);
    resolve(socket);
  });
  return promise.finally(() => clearTimeout(timer));
}

function timeout(name: string, what: string): MosError {
  return new MosError("tpm-timeout", `cannot use the TPM ${name}: ${what} did not come in time`, {
    about: name,
  });
}

function broken(name: string, why: string, cause?: unknown): MosError {
  return new MosError("tpm-unreachable", `cannot use the TPM ${name}: ${why}`, { about: name, cause });
}

/** How large the answer that begins with these bytes will be; undefined while that is not known. */
function announcedSize(bytes: Uint8Array, name: string): number | undefined {
  if (bytes.length < headerSize) return undefined;
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(2);
  if (size < headerSize || size > maxAnswer || bytes.length > size) {
    throw new MosError(
      "tpm-response-malformed",
      `cannot use the answer of the TPM ${name}: it announces ${size} bytes and has ${bytes.length}`,
      { about: name },
    );
  }
  return size;
}

/** Remembers the first failure and gives it for every later command. */
class Guard {
  private failure: MosError | undefined;
  private readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  async run(work: () => Promise<Uint8Array>): Promise<Uint8Array> {
    if (this.failure !== undefined) {
      throw broken(this.name, `an earlier command failed (${this.failure.code})`, this.failure);
    }
    try {
      return await work();
    } catch (error) {
      this.failure =
        error instanceof MosError
          ? error
          : broken(this.name, systemCode(error) ?? "the connection broke", error);
      throw this.failure;
    }
  }
}

/** A character device of the kernel: one write is a command, and reads give nothing until the answer is there. */
class DeviceTransport implements Transport {
  private readonly handle: FileHandle;
  private readonly name: string;
  private readonly guard: Guard;

  constructor(handle: FileHandle, name: string) {
    this.handle = handle;
    this.name = name;
    this.guard = new Guard(name);
  }

  exchange(command: Uint8Array, deadline: number): Promise<Uint8Array> {
    return this.guard.run(async () => {
      const { bytesWritten } = await this.handle.write(command);
      if (bytesWritten !== command.length) throw broken(this.name, "it took only a part of a command");
      return await this.read(deadline);
    });
  }

  private async read(deadline: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(maxAnswer + 1);
    let length = 0;
    // Most commands take well below a millisecond on a virtual TPM and up to a second on a real one.
    for (let pause = 0; ; pause = Math.min(20, pause === 0 ? 1 : pause * 1.5)) {
      const count = await this.readSome(buffer, length);
      length += count;
      const bytes = buffer.subarray(0, length);
      if (announcedSize(bytes, this.name) === length) return bytes;
      const left = deadline - performance.now();
      if (left <= 0) throw timeout(this.name, length === 0 ? "an answer" : "the rest of an answer");
      if (count === 0) await delay(Math.min(pause, Math.ceil(left)));
    }
  }

  /** How many bytes came; 0 when none are there yet. */
  private async readSome(buffer: Uint8Array, at: number): Promise<number> {
    try {
      return (await this.handle.read(buffer, at, buffer.length - at, null)).bytesRead;
    } catch (error) {
      if (systemCode(error) === "EAGAIN") return 0;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** A byte stream, as swtpm serves it: answers come in any number of pieces. */
class SocketTransport implements Transport {
  private readonly socket: Socket;
  private readonly name: string;
  private readonly guard: Guard;
  private received: Uint8Array = new Uint8Array(0);
  private waiting: { resolve(answer: Uint8Array): void; reject(error: unknown): void } | undefined;
  private ended: unknown;

  constructor(socket: Socket, name: string) {
    this.socket = socket;
    this.name = name;
    this.guard = new Guard(name);
    socket.on("data", (bytes: Buffer) => this.receive(bytes));
    socket.on("error", (error) => this.end(broken(name, systemCode(error) ?? error.message, error)));
    socket.on("close", () => this.end(broken(name, "it closed the connection")));
  }

  exchange(command: Uint8Array, deadline: number): Promise<Uint8Array> {
    return this.guard.run(async () => {
      if (this.ended !== undefined) throw this.ended;
      if (this.received.length > 0) throw this.unasked();
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
      this.waiting = { resolve, reject };
      const timer = setTimeout(
        () => reject(timeout(this.name, this.received.length === 0 ? "an answer" : "the rest of an answer")),
        Math.max(1, deadline - performance.now()),
      );
      this.socket.write(command);
      try {
        return await promise;
      } catch (error) {
        this.socket.destroy();
        throw error;
      } finally {
        clearTimeout(timer);
        this.waiting = undefined;
      }
    });
  }

  private unasked(): MosError {
    return new MosError(
      "tpm-response-malformed",
      `cannot use the answer of the TPM ${this.name}: bytes came that no command asked for`,
      { about: this.name },
    );
  }

  private receive(bytes: Uint8Array): void {
    this.received = this.received.length === 0 ? bytes : Buffer.concat([this.received, bytes]);
    if (this.waiting === undefined) return;
    try {
      if (announcedSize(this.received, this.name) !== this.received.length) return;
      this.waiting.resolve(this.received);
      this.received = new Uint8Array(0);
    } catch (error) {
      this.waiting.reject(error);
    }
  }

  private end(error: MosError): void {
    this.ended ??= error;
    this.waiting?.reject(error);
  }

  async close(): Promise<void> {
    this.ended ??= broken(this.name, "it was closed");
    this.socket.destroy();
    this.socket.unref();
  }
}
