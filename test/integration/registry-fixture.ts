// A real registry for tests: Debian's docker-registry on a free port of the loopback, with a directory of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

interface RunningRegistry {
  /** `127.0.0.1:PORT` */
  readonly authority: string;
  /** Bytes of all answers' bodies so far, from the registry's own log. */
  sentBytes(): number;
  /** How many requests it has answered so far, from its log. */
  answers(): number;
  /** Ends the registry and removes all it had. */
  stop(): Promise<void>;
}

/** The address that the registry says it listens on. */
function listening(process: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let log = "";
    process.stderr?.on("data", (text) => {
      log += String(text);
      const address = /listening on (127\.0\.0\.1:[0-9]+)/.exec(log)?.[1];
      if (address !== undefined) resolve(address);
    });
    process.once("error", reject);
    process.once("exit", () => reject(new Error(`docker-registry did not start: ${log}`)));
  });
}

/** Starts a registry that is empty; it answers when this returns. */
export async function startRegistry(): Promise<RunningRegistry> {
  const directory = await mkdtemp(join(tmpdir(), "mos-registry-"));
  const config = join(directory, "config.yml");
  const lines = [
    "version: 0.1",
    "log: { level: info, formatter: text, accesslog: { disabled: true } }",
    `storage: { filesystem: { rootdirectory: ${JSON.stringify(join(directory, "data"))} } }`,
    'http: { addr: "127.0.0.1:0" }',
  ];
  await writeFile(config, `${lines.join("\n")}\n`);
  const process = spawn("docker-registry", ["serve", config], { stdio: ["ignore", "ignore", "pipe"] });
  let sent = 0;
  let answers = 0;
  let line = "";
  process.stderr?.on("data", (text) => {
    const lines = (line + String(text)).split("\n");
    line = lines.pop() ?? "";
    for (const one of lines) {
      if (one.includes('msg="response completed"')) {
        answers += 1;
        sent += Number(/http\.response\.written=([0-9]+)/.exec(one)?.[1] ?? 0);
      }
    }
  });
  const stop = async (): Promise<void> => {
    if (process.pid !== undefined && process.exitCode === null && process.signalCode === null) {
      const exited = once(process, "exit");
      process.kill("SIGKILL");
      await exited;
    }
    await rm(directory, { recursive: true, force: true });
  };
  try {
    return { authority: await listening(process), sentBytes: () => sent, answers: () => answers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
