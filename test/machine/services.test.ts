// What limits, order and jobs are on a real device: each hostile service hurts only itself. One guest, the tests in order.
import { copyFile, cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Machine } from "../../src/machine/machine.ts";
import { busyboxRoot, toolsRoot } from "../../tools/roots.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;

/** Sends back what comes to UDP port 7000; busybox has no such thing. socket(2): AF_INET, SOCK_DGRAM, UDP. */
const echoProgram =
  '$SIG{TERM} = sub { exit }; socket(S, 2, 2, 17); bind(S, pack("S n x12", 2, 7000)) or die; while (defined($from = recv(S, $text, 1500, 0))) { send(S, $text, 0, $from) }';

/** Debian's perl without any module, and the libraries that it needs. */
async function addPerl(root: string): Promise<void> {
  const tools = await toolsRoot();
  await copyFile(join(tools, "usr/bin/perl"), join(root, "bin/perl"));
  const libraries = ["libm.so.6", "libc.so.6", "libcrypt.so.1"].map((name) => `lib/x86_64-linux-gnu/${name}`);
  for (const path of ["lib64/ld-linux-x86-64.so.2", ...libraries]) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(join(tools, "usr", path), join(root, path));
  }
}

const manifest = (root: string) => `version: 1
product: test
storage:
  - { label: small, persistent: true, nsgroup: disk, size: 16M, enforce: true }
targets:
  - service_name: web
    source: "rootfs:${root}"
    version: "1"
    nsgroup: web
    image: { entrypoint: [/bin/serve, "8080"] }
    network: { type: simple, ports: [{ host: 80, container: 8080 }] }
    health: { exec: [/bin/busybox, wget, -qO-, "http://127.0.0.1:8080/index.html"], start_period: 30 }
  - service_name: first
    source: "rootfs:${root}"
    version: "1"
    nsgroup: once
    image: { entrypoint: [/bin/busybox, sh, -c, "cat /etc/words"] }
    run: { mode: once }
    files: [{ dest: /etc/words, content: "100% of $HOME\\n" }]
    depends_on: [{ service: web, condition: healthy }]
  - service_name: second
    source: "rootfs:${root}"
    version: "1"
    nsgroup: once
    image: { entrypoint: [/bin/idle] }
    limits: { scratch: 8M }
    depends_on: [{ service: first, condition: completed }]
  - service_name: limited
    source: "rootfs:${root}"
    version: "1"
    nsgroup: limited
    image: { entrypoint: [/bin/idle], user: "1000", env: [WHO=limited] }
    limits: { pids: 20, memory: 64M, open_files: 64 }
  - service_name: disk
    source: "rootfs:${root}"
    version: "1"
    nsgroup: disk
    image: { entrypoint: [/bin/idle] }
    storage: [{ dest: /data, label: small }]
    security: { read_only: true, capabilities: { drop: [CHOWN] } }
  - service_name: echo
    source: "rootfs:${root}"
    version: "1"
    nsgroup: echo
    image: { entrypoint: [/bin/perl, -e, '${echoProgram}'] }
    network: { type: simple, ports: [{ host: 7007, container: 7000, protocol: udp }] }
`;

async function run(...command: string[]): Promise<{ readonly exit: number; readonly text: string }> {
  const { exitCode, stdout, stderr } = await machine.exec(command, { accept: "any", timeoutMs: 120_000 });
  return { exit: exitCode, text: `${stdout}${stderr}` };
}

function inside(service: string, script: string) {
  return run("mosctl", "exec", service, "--", "/bin/busybox", "sh", "-c", script);
}

beforeAll(async () => {
  device = await bootDevice("services");
  machine = device.machine;
  publisher = await Publisher.create(device.network, (await buildUnderTest()).executable);
  await publisher.makeKeys();
  await machine.exec(["mkdir", "-p", "/etc/mos"]);
  await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa(), 0o644);
  const root = join(publisher.directory, "root");
  await mkdir(root, { recursive: true });
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await mkdir(join(root, "data"));
  await writeFile(join(root, "www/index.html"), "here\n");
  await addPerl(root);
  const reference = await publisher.publish(manifest(root), "services");
  const { exitCode, stdout, stderr } = await machine.exec(["mosctl", "update", reference], {
    accept: "any",
    timeoutMs: 400_000,
  });
  expect(`${exitCode} ${stdout}${stderr}`).toMatch(/^0 /);
}, 900_000);
afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

/** That the neighbour is as well as before. */
async function expectWebUnhurt(): Promise<void> {
  expect((await run("curl", "-s", "--max-time", "20", "http://127.0.0.1/index.html")).text).toBe("here\n");
  expect(
    (await run("systemctl", "show", "mos-svc-web.service", "--property=NRestarts", "--value")).text.trim(),
  ).toBe("0");
}

describe("services of a device", () => {
  it("start in the order that the manifest asks for", async () => {
    const at = async (service: string) => {
      const show = [
        "systemctl",
        "show",
        `mos-svc-${service}.service`,
        "--property=ActiveEnterTimestampMonotonic",
        "--value",
      ];
      return Number((await run(...show)).text);
    };
    const [web, first, second] = [await at("web"), await at("first"), await at("second")];
    expect(web).toBeGreaterThan(0);
    expect(first).toBeGreaterThan(web);
    expect(second).toBeGreaterThan(first);
  });

  it("that run once count as up when they have ended, and read their files as they were written", async () => {
    expect((await run("systemctl", "is-active", "mos-svc-first.service")).text.trim()).toBe("active");
    expect((await run("mosctl", "logs", "first")).text).toContain("100% of $HOME");
  });

  it("run as whom and with what the manifest says instead of the image", async () => {
    expect((await inside("limited", "id -u; echo $WHO; ulimit -n")).text).toBe("1000\nlimited\n64\n");
  });

  it("cannot have more processes than their limit", async () => {
    const bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; wait";
    expect((await inside("limited", bomb)).text).toMatch(/can't fork|unavailable/);
    await expectWebUnhurt();
  });

  it("cannot write more than their scratch", async () => {
    expect((await inside("second", "dd if=/dev/zero of=/full bs=1M count=20; rm -f /full")).text).toMatch(
      /No space left/,
    );
    await expectWebUnhurt();
  });

  it("are ended alone when they take more memory than their limit", async () => {
    await vi.waitFor(async () => expect((await inside("limited", "true")).exit).toBe(0), {
      timeout: 60_000,
      interval: 500,
    });
    const hog = await inside("limited", "tail /dev/zero");
    expect(hog.exit).toBe(137);
    await expectWebUnhurt();
  });

  it("fill their own volume and nobody else's, and cannot write elsewhere on a read-only root", async () => {
    expect((await inside("disk", "dd if=/dev/zero of=/data/full bs=1M count=40")).text).toContain(
      "No space left",
    );
    expect((await inside("disk", "touch /bin/x")).text).toContain("Read-only");
    expect((await inside("disk", "stat -c %u /data")).text.trim()).toBe("0");
    await expectWebUnhurt();
  });

  it("answer over UDP", async () => {
    const ask = "exec 3<>/dev/udp/127.0.0.1/7007; echo hello >&3; timeout 20 head -n1 <&3";
    expect((await run("bash", "-c", ask)).text).toContain("hello");
  });

  it("are stopped, started and restarted by name, and a name that nobody has is said to be so", async () => {
    expect(await run("mosctl", "stop", "echo")).toMatchObject({ exit: 0 });
    expect((await run("systemctl", "is-active", "mos-svc-echo.service")).text.trim()).not.toBe("active");
    expect(await run("mosctl", "start", "echo")).toMatchObject({ exit: 0 });
    expect(await run("mosctl", "restart", "echo")).toMatchObject({ exit: 0 });
    const { exit, text } = await run("mosctl", "stop", "nobody", "--json");
    expect([exit, JSON.parse(text).error.code]).toEqual([2, "service-unknown"]);
  });

  it("are listed with what they use", async () => {
    const { text } = await run("mosctl", "top", "--json");
    const names = (JSON.parse(text).services as { service: string }[]).map(({ service }) => service).sort();
    expect(names).toEqual(["disk", "echo", "first", "limited", "second", "web"]);
    expect((await run("mosctl", "services")).text).toContain("limited");
  });
});
