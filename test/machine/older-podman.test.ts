// A device whose podman is older than what mos writes for quadlet: Debian bookworm's, 4.3, which has no quadlet at all. One
// guest, the tests in order.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Machine } from "../../src/machine/machine.ts";
import { busyboxRoot, olderPodman } from "../../tools/roots.ts";
import { bootDevice, downgradePodman, upgradePodman } from "./harness.ts";
import { Publisher } from "./publisher.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;

// What quadlet says by keys that came with podman 4.5 to 5.3 is in it. It listens when it has been looked at three times.
const listens = `test $(cat /data/tries) = xxx && exec wget -qO- http://127.0.0.1:8080/index.html; printf x >> /data/tries; false`;
const manifest = (root: string, version: string) => `version: 1
product: test
storage:
  - { label: data, persistent: false, nsgroup: web, size: 16M }
targets:
  - service_name: web
    source: "rootfs:${root}"
    version: "${version}"
    nsgroup: web
    image:
      entrypoint: [/bin/serve, "8080"]
      env: ["WORDS=100% of $HOME"]
      user: "0:7"
      working_dir: /www
      stop_signal: SIGKILL
      labels: { who: web }
    network:
      type: simple
      ipv4: 10.5.0.2/24
      ipv6: "fd00:5::2/64"
      ports: [{ host: 80, container: 8080 }]
      dns: [192.0.2.53]
    storage: [{ dest: /data, label: data }]
    limits: { pids: 20, open_files: 64 }
    security: { capabilities: { drop: [CHOWN] } }
    run: { stop_timeout: 20 }
    health: { exec: [/bin/busybox, sh, -c, '${listens}'], interval: 1, start_period: 60 }
  - service_name: asks
    source: "rootfs:${root}"
    version: "1"
    nsgroup: asks
    image: { entrypoint: [/bin/busybox, wget, -qO-, "http://web:8080/index.html"], volumes: [/tmp/own] }
    network: { type: simple, ipv4: 10.5.0.3/24, ipv6: "fd00:5::3/64", hosts: [web] }
    run: { mode: once }
    security: { read_only: true }
    depends_on: [{ service: web, condition: healthy }]
`;

async function run(...command: string[]): Promise<{ readonly exit: number; readonly text: string }> {
  const { exitCode, stdout, stderr } = await machine.exec(command, { accept: "any", timeoutMs: 300_000 });
  return { exit: exitCode, text: `${stdout}${stderr}` };
}

let root = "";
beforeAll(async () => {
  device = await bootDevice("older-podman", { share: await olderPodman() });
  machine = device.machine;
  await downgradePodman(machine);
  publisher = await Publisher.trustedBy(device);
  root = join(publisher.directory, "root");
  await mkdir(root, { recursive: true });
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await mkdir(join(root, "data"));
  await writeFile(join(root, "www/index.html"), "here\n");
}, 900_000);
afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

async function expectUp(): Promise<void> {
  expect(JSON.parse((await run("mosctl", "status", "--json")).text)).toMatchObject({
    health: "ok",
    services: [
      { name: "asks", state: "running" },
      { name: "web", state: "running" },
    ],
  });
  expect((await run("curl", "-s", "--max-time", "20", "http://127.0.0.1/index.html")).text).toBe("here\n");
  expect((await run("mosctl", "logs", "asks")).text).toContain("here");
}

async function startAgain(): Promise<void> {
  await machine.powerCut();
  await machine.start();
  await machine.booted();
  await machine.waitFor("its services", async () => {
    return (await run("systemctl", "is-active", "mos-svc-asks.service")).exit === 0 || undefined;
  });
}

/** Files that quadlet or systemd reads, and does not need to. */
function written(where: "quadlet" | "systemd"): Promise<{ readonly exit: number; readonly text: string }> {
  const directory = where === "quadlet" ? "/run/containers/systemd" : "/run/systemd/system";
  return run("find", directory, "-name", "mos-svc-*", "-o", "-name", "mos-10*");
}

it("runs services, in their order, as it would with quadlet", async () => {
  expect((await run("podman", "--version")).text).toContain("podman version 4.3.");
  const reference = await publisher.publish(manifest(root, "1"), "one");
  expect(await run("mosctl", "update", reference)).toMatchObject({ exit: 0 });
  await expectUp();
  expect((await written("quadlet")).text).toBe("");
  const look = "id -u; id -g; pwd; ulimit -n; echo $WORDS; cat /data/tries; echo; grep CapBnd /proc/1/status";
  expect((await run("mosctl", "exec", "web", "--", "/bin/busybox", "sh", "-c", look)).text).toBe(
    "0\n7\n/www\n64\n100% of $HOME\nxxx\nCapBnd:\t00000000000004fa\n",
  );
  const own = await run(
    "podman",
    "inspect",
    "--format",
    "{{.Config.StopSignal}} {{.Config.StopTimeout}}",
    "mos-web",
  );
  expect(own.text).toBe("9 20\n");
});

it("takes a changed service over", async () => {
  const pid = () => run("systemctl", "show", "mos-svc-web.service", "--property=MainPID");
  const before = (await pid()).text;
  const reference = await publisher.publish(manifest(root, "2"), "two");
  expect(await run("mosctl", "update", reference)).toMatchObject({ exit: 0 });
  expect((await pid()).text).not.toBe(before);
  await expectUp();
});

it("comes up with them after a power cut", async () => {
  await startAgain();
  await expectUp();
});

it("goes over to quadlet when podman is upgraded", async () => {
  await upgradePodman(machine);
  await startAgain();
  await expectUp();
  expect((await written("systemd")).text).toBe("");
  expect((await written("quadlet")).text).toContain("mos-svc-web.container");
});
