// Asking a service whether it is well, from outside of it: at its own address on a network of type `simple`, at the
// device's loopback address on the device's own network.
import { readFile } from "node:fs/promises";
import { get } from "node:http";
import { connect } from "node:net";
import { asMosError } from "../errors/mos-error.ts";
import type { Health } from "../manifest/health-schema.ts";
import type { Target } from "../manifest/schema.ts";
import { payloadProcess } from "./observe.ts";

export type ProbeOutcome = { readonly ok: true } | { readonly ok: false; readonly why: string };

/**
 * The addresses of a network namespace, from its table of routes (proc_pid_net(5), fib_trie): an entry is followed by
 * `/32 host LOCAL`.
 */
export function parseLocalAddresses(fibTrie: string): string[] {
  const found = [...fibTrie.matchAll(/\|-- ([0-9.]+)\n +\/32 host LOCAL/g)].map(
    ([, address]) => address ?? "",
  );
  return [...new Set(found)].filter((address) => !address.startsWith("127."));
}

/** Addresses of /proc/PID/net/if_inet6 that are neither loopback nor link-local. */
export function parseLocalAddresses6(ifInet6: string): string[] {
  return ifInet6.split("\n").flatMap((line) => {
    const [hex = "", , , scope] = line.trim().split(/\s+/);
    if (!/^[0-9a-f]{32}$/.test(hex) || scope !== "00") return [];
    return [hex.match(/.{4}/g)?.join(":") ?? ""];
  });
}

async function addressOf(target: Target, controlGroup: string): Promise<string | undefined> {
  if (target.network.type === "host") return "127.0.0.1";
  const pid = await payloadProcess(controlGroup);
  if (pid === undefined) return undefined;
  const read = (name: string) => readFile(`/proc/${pid}/net/${name}`, "utf8").catch(() => "");
  return parseLocalAddresses(await read("fib_trie"))[0] ?? parseLocalAddresses6(await read("if_inet6"))[0];
}

async function askHttp(
  host: string,
  { port, path, status }: NonNullable<Health["http"]>,
  timeoutMs: number,
): Promise<void> {
  const answer = await new Promise<number>((resolve, reject) => {
    const request = get(
      {
        host,
        port,
        path,
        agent: false,
        signal: AbortSignal.timeout(timeoutMs),
        headers: { connection: "close" },
      },
      (response) => {
        response.destroy();
        resolve(response.statusCode ?? 0);
      },
    );
    request.once("error", reject);
  });
  const isRight = status === undefined ? answer >= 200 && answer < 400 : answer === status;
  if (!isRight) throw new Error(`${path} on port ${port} answers ${answer}, not ${status ?? "200 to 399"}`);
}

async function askTcp(host: string, port: number, timeoutMs: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host, port, signal: AbortSignal.timeout(timeoutMs) });
    socket.once("connect", () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", reject);
  });
}

/** Makes one attempt. Never throws: what goes wrong is the answer. */
export async function probe(target: Target, health: Health, controlGroup: string): Promise<ProbeOutcome> {
  const timeoutMs = health.timeout * 1000;
  try {
    const host = await addressOf(target, controlGroup);
    if (host === undefined) return { ok: false, why: "it has no address yet" };
    if (health.http !== undefined) await askHttp(host, health.http, timeoutMs);
    if (health.tcp !== undefined) await askTcp(host, health.tcp.port, timeoutMs);
    return { ok: true };
  } catch (error) {
    const port = health.http?.port ?? health.tcp?.port ?? 0;
    const { message } = asMosError(error);
    const isLate = error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError");
    return { ok: false, why: isLate ? `port ${port} does not answer within ${health.timeout} s` : message };
  }
}
