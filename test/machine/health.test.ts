// A device that keeps a new generation only when it is healthy: what a person who runs it sees of good and bad ones, of
// interruptions, and of partial updates. One guest, the tests in order.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";
import { updateOneOfTen } from "./ten-services.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;
let root: string;

interface Answer {
  readonly exit: number;
  readonly document: { error?: { code: string; message: string }; outcome?: string; generation?: number };
}

async function mosctl(...args: string[]): Promise<Answer> {
  const { exitCode, stdout } = await machine.exec(["mosctl", ...args, "--json"], {
    accept: "any",
    timeoutMs: 240_000,
  });
  return { exit: exitCode, document: JSON.parse(stdout) };
}

async function status(): Promise<Status> {
  const { stdout } = await machine.exec(["mosctl", "status", "--json"], { accept: [0, 4, 8] });
  return JSON.parse(stdout) as Status;
}

/** One run of a service; another one after every restart. */
async function runOf(service: string): Promise<string> {
  const show = ["systemctl", "show", `mos-svc-${service}.service`, "--property=InvocationID", "--value"];
  return (await machine.exec(show)).stdout.trim();
}

const httpd = (port: number): string => `[/bin/serve, "${port}"]`;
const fails = `[/bin/sh, -c, "exit 1"]`;

interface Web {
  readonly version: string;
  readonly entrypoint?: string;
  readonly health?: string;
}

const web = ({
  version,
  entrypoint = httpd(8080),
  health = "{http: {port: 8080, path: /index.html}}",
}: Web) => `
  - service_name: web
    source: "rootfs:${root}"
    image: {entrypoint: ${entrypoint}}
    version: "${version}"
    nsgroup: web
    network: {type: simple, ports: [{host: 80, container: 8080}]}
    health: ${health}`;

const steady = `
  - service_name: steady
    source: "rootfs:${"ROOT"}"
    image: {entrypoint: [/bin/idle]}
    version: "1"
    nsgroup: none
    network: {type: none}`;

const manifest = (targets: string, more = "") =>
  `version: 1\nproduct: test\n${more}targets:${targets.replaceAll("ROOT", root)}\n`;

let tag = 0;
async function publish(yaml: string): Promise<string> {
  tag += 1;
  return await publisher.publish(yaml, `h${tag}`);
}

beforeAll(async () => {
  device = await bootDevice("health");
  machine = device.machine;
  publisher = await Publisher.trustedBy(device);
  root = join(publisher.directory, "root");
  await mkdir(root, { recursive: true });
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(root, "www/index.html"), "here\n");
}, 300_000);
afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

describe("a new generation", () => {
  it("that is the first and does not become healthy leaves the device as empty as it was", async () => {
    const bad = await publish(manifest(web({ version: "0", entrypoint: fails })));
    const { exit, document } = await mosctl("update", bad);
    expect([exit, document.error?.code]).toEqual([8, "generation-unhealthy"]);
    expect(await status()).toMatchObject({ health: "none", services: [], failures: [{ generation: 1 }] });
    expect((await machine.exec("podman ps -aq")).stdout).toBe("");
    expect((await machine.exec("ls /run/containers/systemd")).stdout).toBe("");
  });

  it("is kept when its services answer", async () => {
    const good = await publish(manifest(web({ version: "1" }) + steady));
    expect(await mosctl("update", good)).toMatchObject({ exit: 0, document: { outcome: "updated" } });
    const { health, transaction, generation } = await status();
    expect([health, transaction, generation?.number]).toEqual(["ok", undefined, 2]);
  });

  it("whose service does not answer as it should is left again, and what did not change runs on untouched", async () => {
    const before = await runOf("steady");
    const bad = await publish(
      manifest(web({ version: "2", health: "{http: {port: 8080, path: /none.html}}" }) + steady),
    );
    const { exit, document } = await mosctl("update", bad);
    expect([exit, document.error?.code]).toEqual([8, "generation-unhealthy"]);
    expect(document.error?.message).toContain("answers 404");
    const { health, generation, failures } = await status();
    expect([health, generation?.number, failures?.[0]?.generation]).toEqual(["ok", 2, 3]);
    expect(await runOf("steady")).toBe(before);
    const page = "wget -qO- http://127.0.0.1/index.html || curl -s http://127.0.0.1/index.html";
    expect((await machine.exec(["bash", "-c", page])).stdout).toBe("here\n");
  });

  it("that failed here is not tried again before somebody says so", async () => {
    const bad = `http://${publisher.authority}/machine/install:h${tag}`;
    expect(await mosctl("update", bad)).toMatchObject({
      exit: 4,
      document: { error: { code: "generation-failed-before" } },
    });
    expect((await mosctl("update", "--retry", bad)).document.error?.code).toBe("generation-unhealthy");
  });

  it("whose program ends as soon as it is started is left again", async () => {
    const bad = await publish(manifest(web({ version: "3", entrypoint: fails }) + steady));
    const { document } = await mosctl("update", bad);
    expect(document.error?.code).toBe("generation-unhealthy");
    expect((await status()).health).toBe("ok");
  });

  it("is asked by a program of its own root, and counts as started when that succeeds", async () => {
    const asks = "{exec: [/bin/busybox, test, -e, /www/index.html], interval: 1s}";
    const good = await publish(manifest(web({ version: "4", health: asks }) + steady));
    expect(await mosctl("update", good)).toMatchObject({ exit: 0, document: { outcome: "updated" } });
    const never = "{exec: [/bin/busybox, test, -e, /none], interval: 1s}";
    const bad = await publish(
      manifest(web({ version: "5", health: never }) + steady, "health: {timeout: 10s}\n"),
    );
    expect((await mosctl("update", bad)).document.error?.code).toBe("generation-unhealthy");
    expect((await status()).services.find(({ name }) => name === "web")?.version).toBe("4");
  });

  it("may have a service that does not count", async () => {
    const failing = web({ version: "6", entrypoint: fails, health: "{required: false}" });
    const { exit, document } = await mosctl("update", await publish(manifest(failing + steady)));
    // Between two of its starts nothing is wrong with it yet.
    expect(exit === 0 || exit === 8, `exit code ${exit}`).toBe(true);
    expect(document.outcome).toBe("updated");
    await machine.waitFor("it to be seen", async () => (await status()).health === "degraded" || undefined);
    expect(await mosctl("rollback")).toMatchObject({ exit: 0, document: { outcome: "rolled-back" } });
  });
});

describe("a partial manifest", () => {
  it("replaces what it names and keeps the rest, over a reboot too", async () => {
    const before = await runOf("steady");
    const { generation } = await status();
    const part = await publish(manifest(web({ version: "7" }), "update_type: partial\n"));
    expect(await mosctl("update", part)).toMatchObject({ exit: 0, document: { outcome: "updated" } });
    const after = await status();
    expect(after.generation?.bases).toEqual([generation?.manifestDigest]);
    expect(after.services.map(({ name, version }) => `${name} ${version}`)).toEqual(["steady 1", "web 7"]);
    expect(await runOf("steady")).toBe(before);
    await machine.reboot();
    await machine.waitFor("every service to run", async () => (await status()).health === "ok" || undefined);
    expect((await status()).services).toHaveLength(2);
  });
});

/** Begins an update that stays on trial for long, and returns when it is. */
async function beginTrial(version: string, tries: number): Promise<number> {
  const gate = `health: {settle: 100s, tries: ${tries}}\n`;
  const slow = await publish(manifest(web({ version }) + steady, gate));
  const before = await runOf("web");
  await machine.exec(["systemd-run", "--quiet", "--unit=trial", "--collect", "mosctl", "update", slow]);
  return await machine.waitFor("the trial", async () => {
    const { transaction, services } = await status();
    const isUp = services.find(({ name }) => name === "web")?.state === "running";
    // What ran before is up until the new one takes its place.
    const isNew = isUp && (await runOf("web")) !== before;
    return transaction?.phase === "trial" && isNew ? transaction.to : undefined;
  });
}

describe("a trial that is interrupted", () => {
  it("goes on after the agent was killed, and what runs is not restarted", async () => {
    await beginTrial("8", 3);
    const run = await runOf("web");
    await machine.exec("systemctl kill --signal=KILL mosd.service");
    await machine.waitFor(
      "the agent to be back",
      async () => (await status()).transaction?.triesLeft === 1 || undefined,
    );
    expect(await runOf("web")).toBe(run);
  });

  it("goes on after a power cut, and back when it was cut at every try", async () => {
    const { transaction, generation } = await status();
    expect(transaction?.phase).toBe("trial");
    const to = transaction?.to;
    await machine.powerCut();
    await machine.start();
    await machine.booted();
    const second = await status();
    expect([second.generation?.number, second.transaction?.triesLeft]).toEqual([to, 0]);
    await machine.powerCut();
    await machine.start();
    await machine.booted();
    const last = await machine.waitFor("what ran before", async () => {
      const now = await status();
      return now.health === "ok" && now.transaction === undefined ? now : undefined;
    });
    expect(last.generation?.number).toBe(generation?.number === to ? transaction?.from : generation?.number);
    expect(last.failures?.[0]).toMatchObject({ generation: to, code: "generation-tries-exhausted" });
  }, 240_000);
});

describe("a device whose state was damaged", () => {
  it("with a journal of garbage goes on with what ran, says so in its log, and keeps it for a person", async () => {
    const before = (await status()).generation?.number;
    await machine.exec("systemctl stop mosd.service; echo '{' > /var/lib/mos/journal.json");
    const after = await status();
    expect([after.generation?.number, after.health]).toEqual([before, "ok"]);
    expect((await machine.exec("journalctl -b -u mosd -o cat")).stdout).toContain("what ran before goes on");
    const names = (await machine.exec("ls /var/lib/mos")).stdout.split("\n");
    expect(names).toContain("journal.json.damaged");
    expect(names).not.toContain("journal.json");
  });

  it("with a bent pointer runs the generation before it, and an update mends it", async () => {
    await machine.exec("systemctl stop mosd.service; ln -sfn /etc /var/lib/mos/current");
    await machine.exec("systemctl restart mosd.service");
    const bent = await status();
    expect(bent.generation).toBeDefined();
    expect(bent.damage).toMatchObject([{ code: "state-invalid" }]);
    const good = await publish(manifest(web({ version: "9" }) + steady));
    expect(await mosctl("update", good)).toMatchObject({ exit: 0 });
    expect(await status()).toMatchObject({ health: "ok" });
    expect((await status()).damage).toBeUndefined();
  });
});

it("an update of one service out of ten takes just that one down, for seconds", async () => {
  const { restarted, others, seconds, downMs } = await updateOneOfTen(machine, publisher, root);
  expect([restarted, others]).toEqual([["s3"], 0]);
  process.stdout.write(`one of ten services updated in ${seconds.toFixed(1)} s, down for ${downMs} ms\n`);
  expect(downMs).toBeGreaterThan(0);
  expect(downMs).toBeLessThan(30_000);
});
