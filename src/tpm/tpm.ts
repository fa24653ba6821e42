// A TPM that was opened: sends commands one after the other, retries those that it asks to send again, and turns its
// refusals into errors. What the commands are is in the files beside this one.
import { setTimeout as delay } from "node:timers/promises";
import { MosError } from "../errors/mos-error.ts";
import type { TpmAddress } from "./address.ts";
import { formatTpmAddress } from "./address.ts";
import type { Reader } from "./buffer.ts";
import { type Command, Exchange } from "./command.ts";
import { decodeResponseCode, type ResponseCodeName, TpmError } from "./response-code.ts";
import { openTransport, type Transport } from "./transport.ts";

export interface TpmOptions {
  /** For connecting, and for each command with its retries; default 30 000 milliseconds. */
  readonly deadlineMs?: number;
}

/** The TPM is busy with itself and asks for the same command again later (Part 2, table 17). */
const again: readonly ResponseCodeName[] = [
  "TPM_RC_RETRY",
  "TPM_RC_YIELDED",
  "TPM_RC_TESTING",
  "TPM_RC_NV_RATE",
];

export class Tpm implements AsyncDisposable {
  private readonly transport: Transport;
  private readonly name: string;
  private readonly deadlineMs: number;
  private sent = 0;
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(transport: Transport, name: string, deadlineMs: number) {
    this.transport = transport;
    this.name = name;
    this.deadlineMs = deadlineMs;
  }

  /**
   * Opens a TPM. It sends no command.
   * @throws MosError `tpm-missing`, `tpm-unreachable`, `tpm-timeout`, `permission-denied`
   */
  static async open(address: TpmAddress, { deadlineMs = 30_000 }: TpmOptions = {}): Promise<Tpm> {
    const transport = await openTransport(address, deadlineMs);
    return new Tpm(transport, formatTpmAddress(address), deadlineMs);
  }

  /** How many commands were sent, each retry counted. */
  get commandCount(): number {
    return this.sent;
  }

  /**
   * Carries out one command.
   * @param decode reads all of the answer's parameters; its SyntaxError means that the answer is malformed
   * @throws TpmError (`tpm-refused`, `tpm-lockout`), MosError `tpm-timeout`, `tpm-unreachable`,
   *   `tpm-response-malformed`, `tpm-response-forged`
   */
  execute<T>(command: Command, decode: (reader: Reader, handle: number) => T): Promise<T> {
    const result = this.queue.then(() => this.run(command, decode));
    this.queue = result.catch(() => undefined);
    return result;
  }

  private async run<T>(command: Command, decode: (reader: Reader, handle: number) => T): Promise<T> {
    const deadline = performance.now() + this.deadlineMs;
    const exchange = new Exchange(command);
    const answer = await this.send(command, exchange, deadline);
    return this.understand(command, () => exchange.decode(answer, decode));
  }

  /** The answer of a command that succeeded. */
  private async send(command: Command, exchange: Exchange, deadline: number): Promise<Uint8Array> {
    for (let pause = 1; ; pause = Math.min(200, 2 * pause)) {
      this.sent++;
      const answer = await this.transport.exchange(exchange.bytes, deadline);
      const code = decodeResponseCode(this.understand(command, () => exchange.responseCode(answer)));
      if (code.value === 0) return answer;
      if (code.name === undefined || !again.includes(code.name)) throw new TpmError(command.name, code);
      if (performance.now() + pause >= deadline) {
        throw new MosError("tpm-timeout", `cannot carry out ${command.name}: the TPM is still busy`, {
          about: this.name,
          cause: new TpmError(command.name, code),
        });
      }
      await delay(pause);
    }
  }

  private understand<T>(command: Command, read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new MosError(
        "tpm-response-malformed",
        `cannot use the answer of the TPM ${this.name} to ${command.name}: ${error.message}`,
        { about: this.name, cause: error },
      );
    }
  }

  /** Waits for the command under way, then lets go of the TPM. Sessions and objects stay in a TPM without a resource manager. */
  async close(): Promise<void> {
    await this.queue;
    await this.transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
