// A TPM as the kernel shows it: a character device that is read without waiting. A terminal's other end plays it, since
// no machine that tests run on need have one; what it answers was recorded from swtpm's form.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../src/tpm/buffer.ts";
import { getRandom } from "../../src/tpm/capability.ts";
import { Tpm } from "../../src/tpm/tpm.ts";

const given = Uint8Array.of(1, 2, 3, 4);
const random = encode((writer) => writer.u16(0x8001).u32(16).u32(0).sized(given));

let child: ChildProcess;
let ended: Promise<unknown>;
/** The process whose end closes the terminal, and ends script(1). */
let holder: number;
let path: string;
/** What came to the device. */
let commands: Buffer;

beforeEach(async () => {
  commands = Buffer.alloc(0);
  // script(1) opens a terminal; its shell says where, and leaves it to us.
  const shell = "stty raw -echo; echo $$ $(tty); exec sleep 600";
  child = spawn("script", ["--quiet", "--return", "--command", shell, "/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  ended = once(child, "close");
  let said = "";
  while (!said.includes("\n")) said += String((await once(child.stdout ?? child, "data"))[0]);
  const [pid = "", terminal = ""] = said.trim().split(" ");
  holder = Number(pid);
  path = terminal;
  child.stdout?.on("data", (chunk: Buffer) => {
    commands = Buffer.concat([commands, chunk]);
  });
});

afterEach(async () => {
  if (child.exitCode === null && child.signalCode === null) process.kill(holder, "SIGKILL");
  await ended;
});

/** Answers every command with these pieces, each some milliseconds after the one before. */
function answerWith(...pieces: readonly Uint8Array[]): void {
  child.stdout?.on("data", () => {
    pieces.forEach((piece, at) => {
      setTimeout(() => child.stdin?.write(piece), 15 * at);
    });
  });
}

async function ask(deadlineMs = 5000): Promise<Uint8Array> {
  await using tpm = await Tpm.open({ kind: "device", path }, { deadlineMs });
  return await getRandom(tpm, 4);
}

describe("a device", () => {
  test("that answers is understood, command after command", async () => {
    answerWith(random);
    await using tpm = await Tpm.open({ kind: "device", path });
    expect(await getRandom(tpm, 4)).toEqual(given);
    expect(await getRandom(tpm, 4)).toEqual(given);
    expect(commands.toString("hex")).toBe("80010000000c0000017b0004".repeat(2));
  });

  test("that answers late and in pieces is understood", async () => {
    answerWith(new Uint8Array(0), random.subarray(0, 3), random.subarray(3, 11), random.subarray(11));
    expect(await ask()).toEqual(given);
  });

  test("that does not answer is given up in time", async () => {
    await expect(ask(60)).rejects.toMatchObject({ code: "tpm-timeout" });
  });

  test("that gives half an answer is given up in time", async () => {
    answerWith(random.subarray(0, 12));
    await expect(ask(80)).rejects.toMatchObject({ code: "tpm-timeout" });
  });

  test("that says more than one answer is not believed", async () => {
    answerWith(Buffer.concat([random, random]));
    await expect(ask()).rejects.toMatchObject({ code: "tpm-response-malformed" });
  });

  test("that goes away is given up in time", async () => {
    child.stdout?.once("data", () => process.kill(holder, "SIGKILL"));
    await expect(ask(100)).rejects.toMatchObject({
      code: expect.stringMatching(/^tpm-(unreachable|timeout)$/),
    });
    await ended;
  });
});
