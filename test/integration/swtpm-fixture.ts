// A software TPM (swtpm) for one test file, with its own state, reachable by us and by tpm2-tools.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type RunResult, run } from "../../src/system/process.ts";
import { parseTpmAddress, type TpmAddress } from "../../src/tpm/address.ts";

export interface Swtpm {
  readonly address: TpmAddress;
  /** For `tpm2_… -T`. */
  readonly tcti: string;
  /** Where it keeps its state; copying it while swtpm is stopped is a backup of the TPM. */
  readonly state: string;
  /** Runs one of tpm2-tools on it. The TPM has to be closed by everybody else: it serves one connection at a time. */
  tool(program: string, ...args: readonly string[]): Promise<RunResult>;
  /** Ends it and starts it again with the same state, as a power cycle does. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

async function listens(path: string): Promise<boolean> {
  const connection = createConnection(path);
  const answered = await Promise.race([
    once(connection, "connect").then(() => true),
    once(connection, "close").then(() => false),
  ]).catch(() => false);
  connection.destroy();
  return answered;
}

/** @param directory exists, is short enough for sockets in it, and is the caller's to remove */
export async function startSwtpm(directory: string): Promise<Swtpm> {
  const state = join(directory, "tpm-state");
  const socket = join(directory, "tpm.sock");
  // Where tpm2-tools look for it.
  const control = `${socket}.ctrl`;
  await mkdir(state, { recursive: true });
  let child: ChildProcess;
  const start = async (): Promise<void> => {
    for (const path of [socket, control]) await rm(path, { force: true });
    child = spawn(
      "swtpm",
      [
        ...["socket", "--tpm2", "--tpmstate", `dir=${state}`],
        ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${control}`],
        ...["--flags", "not-need-init,startup-clear"],
        ...["--log", `level=1,file=${join(directory, "swtpm.log")}`],
      ],
      { stdio: "ignore" },
    );
    // A socket is there a moment before anybody listens on it.
    while (!(await listens(control)) || !(await listens(socket))) {
      if (child.exitCode !== null) throw new Error(`swtpm ended with ${child.exitCode}`);
      await delay(2);
    }
  };
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "close");
    child.kill();
    await ended;
  };
  await start();
  const tcti = `swtpm:path=${socket}`;
  return {
    address: parseTpmAddress(`swtpm:${socket}`),
    tcti,
    state,
    tool: async (program, ...args) => await run(program, [...args, "-T", tcti], { cwd: directory }),
    restart: async () => {
      await stop();
      await start();
    },
    stop,
  };
}
