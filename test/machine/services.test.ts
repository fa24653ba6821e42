// What limits, order, files, volumes, images and networks are on a real device: each hostile service hurts only itself. One
// guest, the tests in order. Complaints 1-3, 18 and 19 of the field: services that come late or not at all, ranges of ids
// that are not there, locks of the dead, crash loops.
import { copyFile, cp, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Machine } from "../../src/machine/machine.ts";
import { addressesOn, networksOf, plainAddress } from "../../src/manifest/networks.ts";
import { busyboxRoot, olderPodman, toolsRoot } from "../../tools/roots.ts";
import { addHealthcheck, exampleServices, tarImage } from "./example-services.ts";
import { bootDevice, downgradePodman } from "./harness.ts";
import { Publisher } from "./publisher.ts";

/** To try all of it with a podman that has no quadlet, as older-podman.test.ts does with some. */
const isOlder = process.env["MOS_TEST_PODMAN"] === "older";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;

/**
 * Sends back what comes to UDP port 7000; busybox has no such thing. Says each second that it is alive, until SIGUSR1.
 * socket(2): AF_INET, SOCK_DGRAM, UDP, and AF_UNIX, SOCK_DGRAM.
 */
const echoProgram = [
  '$SIG{TERM} = sub { exit }; socket(S, 2, 2, 17); bind(S, pack("S n x12", 2, 7000)) or die;',
  'socket(N, 1, 2, 0); $to = pack("S a*", 1, $ENV{NOTIFY_SOCKET}); send(N, "READY=1", 0, $to) or die;',
  "die if $ENV{WATCHDOG_USEC} != 10000000; $SIG{USR1} = sub { $stuck = 1 };",
  '$SIG{ALRM} = sub { $stuck or send(N, "WATCHDOG=1", 0, $to); alarm 1 }; alarm 1;',
  "while (1) { $from = recv(S, $text, 1500, 0); send(S, $text, 0, $from) if defined $from }",
].join(" ");

/** Debian's perl without any module, and the libraries that it needs. */
async function addPerl(root: string): Promise<void> {
  const tools = await toolsRoot();
  await copyFile(join(tools, "usr/bin/perl"), join(root, "bin/perl"));
  const libraries = ["ld-linux-x86-64.so.2", "libm.so.6", "libc.so.6", "libcrypt.so.1"].map(
    (name) => `lib/x86_64-linux-gnu/${name}`,
  );
  for (const path of ["lib64/ld-linux-x86-64.so.2", ...libraries]) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await copyFile(join(tools, "usr", path), join(root, path));
  }
}

const manifest = (root: string, image: string) => `version: 1
product: test
storage:
  - { label: small-data, persistent: true, nsgroup: disk, size: 16M, enforce: true }
targets:
  - service_name: web
    source: "rootfs:${root}"
    version: "1"
    nsgroup: web
    image: { entrypoint: [/bin/serve, "8080"] }
    network:
      { type: simple, ipv4: 10.5.0.2/24, ipv6: "fd00:5::2/64", ports: [{ host: 80, container: 8080 }] }
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
    image: { entrypoint: [/bin/serve, "8080"] }
    limits: { scratch: 8M }
    network: { type: simple, hosts: [echo] }
    depends_on: [{ service: first, condition: completed }]
  - service_name: limited
    source: "rootfs:${root}"
    version: "1"
    nsgroup: limited
    image: { entrypoint: [/bin/idle], user: "1000", env: [WHO=limited] }
    limits: { pids: 20, memory: 64M, open_files: 64 }
    security: { read_only_paths: [/etc, /opt/kept/one] }
  - service_name: disk
    source: "rootfs:${root}"
    version: "1"
    nsgroup: disk
    image:
      entrypoint: [/bin/busybox, sh, -c, "test ! -e /data/crash && exec /bin/idle"]
      volumes: [/www]
    storage: [{ dest: /data, label: small-data }]
    security: { read_only: true, capabilities: { drop: [CHOWN] } }
  - service_name: files
    service_type: fs-only
    source: "rootfs:${root}"
    version: "1"
    nsgroup: reader
  - service_name: reader
    source: "${image}"
    version: "1"
    nsgroup: reader
    mounts: [{ service: files, dest: /opt/files }]
    network: { type: simple, ipv4: 10.5.0.3/24, ipv6: "fd00:5::3/64", hosts: [web] }
  - service_name: echo
    source: "rootfs:${root}"
    version: "1"
    nsgroup: echo
    image: { entrypoint: [/bin/perl, -e, '${echoProgram}'] }
    run: { watchdog: 10s }
    network: { type: simple, ipv6: auto, hosts: [second], ports: [{ host: 7007, container: 7000, protocol: udp }] }
`;

function automaticService(service_name: string) {
  const network = { type: "simple", ipv4: "", ipv6: "auto" } as const;
  return { service_name, service_type: "container", network } as const;
}

async function run(...command: string[]): Promise<{ readonly exit: number; readonly text: string }> {
  const { exitCode, stdout, stderr } = await machine.exec(command, { accept: "any", timeoutMs: 120_000 });
  return { exit: exitCode, text: `${stdout}${stderr}` };
}

function inside(service: string, script: string) {
  return run("mosctl", "exec", service, "--", "/bin/busybox", "sh", "-c", script);
}

async function update(reference: string): Promise<void> {
  const { exitCode, stdout, stderr } = await machine.exec(["mosctl", "update", reference], {
    accept: "any",
    timeoutMs: 400_000,
  });
  expect(`${exitCode} ${stdout}${stderr}`).toMatch(/^0 /);
}

/** What is in the way of packets. */
async function firewall(): Promise<string> {
  return (await run("nft", "list", "ruleset")).text;
}

/** What somebody else has put there. */
const othersRules = `table inet others {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport 23 drop
	}
}
`;

beforeAll(async () => {
  device = await bootDevice("services", isOlder ? { share: await olderPodman() } : {});
  machine = device.machine;
  if (isOlder) await downgradePodman(machine);
  publisher = await Publisher.trustedBy(device);
  const root = join(publisher.directory, "root");
  await mkdir(root, { recursive: true });
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await mkdir(join(root, "data"));
  await writeFile(join(root, "www/index.html"), "here\n");
  await addPerl(root);
  await mkdir(join(root, "etc/kept"), { recursive: true });
  await mkdir(join(root, "opt/kept"), { recursive: true });
  await writeFile(join(root, "etc/kept/conf"), "kept\n");
  await writeFile(join(root, "opt/kept/one"), "one\n", { mode: 0o755 });
  const image = await tarImage(publisher.directory, "reader", {
    files: { "bin/reader": "#!/bin/sh\nexec /bin/idle\n" },
    entrypoint: "/bin/reader",
    config: ["--config.label", "who=reader", "--config.env", "FROM=image", "--config.user", "33"],
  });
  await addHealthcheck(image, {
    Test: ["CMD", "/bin/busybox", "test", "!", "-e", "/sick"],
    ...{ Interval: 5e9, Timeout: 20e9, Retries: 1 },
  });
  await machine.exec(`nft -f - <<'END'\n${othersRules}END`);
  await update(await publisher.publish(manifest(root, image), "services"));
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

  it("cannot change what is to stay read-only of a root that they can write to, nor put something in its place", async () => {
    const asRoot = (script: string) =>
      run("podman", "exec", "--user", "0", "mos-limited", "/bin/busybox", "sh", "-c", script);
    const tries = [
      ...[
        "touch /etc/new",
        "touch /etc/kept/new",
        "echo x > /etc/kept/conf",
        "rm /etc/kept/conf",
        "chown 1 /etc/kept/conf",
      ],
      ...[
        "mv /etc/kept /etc/moved",
        "mv /etc /moved",
        "echo x > /opt/kept/one",
        "rm /opt/kept/one",
        "mv /opt/kept /opt/moved",
      ],
      ...["rm -rf /opt/kept", "umount /opt/kept/one", "mount -o remount,rw /opt/kept/one"],
    ];
    const script = `${tries.map((one) => `(${one}) 2>/dev/null && echo "could ${one}"`).join("; ")}; true`;
    expect((await asRoot(script)).text).toBe("");
    const look = "cat /etc/kept/conf /opt/kept/one; stat -c '%u %a' /etc/kept /opt/kept/one";
    expect((await asRoot(look)).text).toBe("kept\none\n0 755\n0 755\n");
    expect((await asRoot("touch /new /opt/kept/new && echo written")).text).toBe("written\n");
  });

  it("do not start where a path that is to stay read-only is a symlink, which would lead out of the root, or not there", async () => {
    const root = "/run/mos/roots/limited";
    const unit = "mos-svc-limited.service";
    // So that the root stays when the service does not need it.
    const needs = ["--property=Requires=run-mos-roots-limited.mount"];
    expect((await run("systemd-run", "--unit=hold", ...needs, "sleep", "600")).text).toContain("Running as");
    await run("systemctl", "stop", unit);
    expect((await run("findmnt", "--noheadings", "--output=FSTYPE", root)).text.trim()).toBe("overlay");
    for (const change of [`rm -r ${root}/etc`, `ln -s /etc ${root}/etc`]) {
      expect((await run("bash", "-c", change)).text).toBe("");
      expect((await run("systemctl", "start", unit)).exit).not.toBe(0);
      expect((await run("podman", "ps", "--quiet", "--filter", "name=^mos-limited$")).text).toBe("");
      await run("systemctl", "stop", unit);
    }
    await run("systemctl", "stop", "hold.service");
    expect((await run("systemctl", "reset-failed", unit)).exit).toBe(0);
    expect((await run("mosctl", "start", "limited")).text).toContain("is up");
    expect((await inside("limited", "cat /etc/kept/conf")).text).toBe("kept\n");
  });

  it("answer over UDP", async () => {
    const ask = "exec 3<>/dev/udp/127.0.0.1/7007; echo hello >&3; timeout 20 head -n1 <&3";
    expect((await run("bash", "-c", ask)).text).toContain("hello");
  });

  it("that no longer say that they are alive are ended by force and begun again", async () => {
    const show = ["systemctl", "show", "mos-svc-echo.service", "--property=NRestarts", "--value"];
    const before = Number((await run(...show)).text);
    await run("podman", "kill", "--signal=USR1", "mos-echo");
    await machine.waitFor(
      "it to be begun again",
      async () => Number((await run(...show)).text) > before || undefined,
      60_000,
    );
    expect((await run("journalctl", "-b", "-u", "mos-svc-echo.service", "--output=cat")).text).toMatch(
      /watchdog timeout/i,
    );
    const active = ["systemctl", "is-active", "mos-svc-echo.service"];
    await machine.waitFor("it to be up", async () => (await run(...active)).exit === 0 || undefined, 60_000);
    await expectWebUnhurt();
  });

  it("whose image says how they are asked are seen to become unhealthy, and well again", async () => {
    const seen = async () => {
      const { health, services } = JSON.parse((await run("mosctl", "status", "--json")).text);
      const reader = services.find(({ name }: { name: string }) => name === "reader");
      return `${health} ${reader.state} ${reader.error?.code}`;
    };
    const asRoot = ["podman", "exec", "--user", "0", "mos-reader", "/bin/busybox"];
    const becomes = (what: string) =>
      machine.waitFor(what, async () => (await seen()) === what || undefined, 120_000);
    await becomes("ok running undefined");
    await run(...asRoot, "touch", "/sick");
    await becomes("degraded running service-unhealthy");
    await run(...asRoot, "rm", "/sick");
    await becomes("ok running undefined");
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
    expect(names).toEqual(["disk", "echo", "first", "limited", "reader", "second", "web"]);
    expect((await run("mosctl", "services")).text).toContain("limited");
  });

  it("do not wait for the network to be online, nor for anything that is not theirs (complaint 2)", async () => {
    const units = ["mos-svc-web.service", "mos-svc-reader.service", "mos-svc-limited.service"];
    const show = ["systemctl", "show", ...units, "--property=After,Requires,Wants,BindsTo"];
    expect((await run(...show)).text).not.toMatch(/network-online|podman-user-wait|remote-fs/);
  });

  it("are let through the firewall, and nothing else is", async () => {
    const rules = await firewall();
    expect(rules).toMatch(/10\.5\.0\.0\/24/);
    expect(rules.match(/\w+ dport \d+ dnat .*/g)?.sort()).toEqual([
      "tcp dport 80 dnat ip to 10.5.0.2:8080",
      "tcp dport 80 dnat ip6 to [fd00:5::2]:8080",
      expect.stringMatching(/^udp dport 7007 dnat ip to 198\.(18|19)\.\d+\.\d+:7000$/),
      expect.stringMatching(/^udp dport 7007 dnat ip6 to \[fd[0-9a-f:]+\]:7000$/),
    ]);
  });

  it("run in ranges of ids of their own, which nothing has to have set aside (complaint 3)", async () => {
    expect(
      (await run("bash", "-c", "cat /etc/subuid /etc/subgid 2>/dev/null | grep -c containers")).text.trim(),
    ).toBe("0");
    const maps = await Promise.all(
      ["web", "limited", "disk"].map((name) => inside(name, "cat /proc/self/uid_map")),
    );
    const firsts = maps.map(({ text }) => /^\s*0\s+([0-9]+)\s+65536\s*$/.exec(text)?.[1]);
    expect(new Set(firsts).size).toBe(3);
    expect(firsts).not.toContain(undefined);
  });

  it("of images of tar layers run as their image says, without what its layers deleted", async () => {
    expect((await inside("reader", "id -u; echo $FROM; ls /etc/deleted 2>&1")).text).toMatch(
      /^33\nimage\n.*No such file.*\n/,
    );
    expect(
      (await run("podman", "inspect", "--format", "{{.Config.Labels.who}}", "mos-reader")).text.trim(),
    ).toBe("reader");
  });

  it("see the files of another target, with their owners, and cannot write them", async () => {
    expect(
      (await inside("reader", "cat /opt/files/www/index.html; stat -c %u /opt/files/bin/serve")).text,
    ).toBe("here\n0\n");
    const asRoot = ["exec", "--user", "0", "mos-reader", "/bin/busybox", "touch", "/opt/files/x"];
    expect((await run("podman", ...asRoot)).text).toContain("Read-only");
  });

  it("find each other by name, over IPv4 and IPv6", async () => {
    expect((await inside("reader", "wget -qO- http://web:8080/index.html")).text).toBe("here\n");
    expect((await inside("reader", "wget -qO- http://10.5.0.2:8080/index.html")).text).toBe("here\n");
    expect((await inside("reader", "wget -qO- 'http://[fd00:5::2]:8080/index.html'")).text).toBe("here\n");
    expect((await inside("reader", "grep -c web /etc/hosts")).text.trim()).toBe("2");
  });

  it("find each other by name without a fixed address, over both families, at addresses that follow from their names", async () => {
    const automatic = networksOf([automaticService("second"), automaticService("echo")])[0];
    const addresses = (name: string) =>
      automatic === undefined ? [] : addressesOn(automatic, automaticService(name)).map(plainAddress);
    const [ipv4, ipv6] = addresses("second");
    expect((await inside("second", "ip -o address show dev eth0")).text).toMatch(
      new RegExp(`inet ${ipv4}/15 [^]*inet6 ${ipv6}/64 `),
    );
    expect((await inside("echo", "wget -qO- http://second:8080/index.html")).text).toBe("here\n");
    expect((await inside("echo", `wget -qO- http://${ipv4}:8080/index.html`)).text).toBe("here\n");
    expect((await inside("echo", `wget -qO- 'http://[${ipv6}]:8080/index.html'`)).text).toBe("here\n");
    const hosts = (await inside("second", "cat /etc/hosts")).text;
    for (const address of addresses("echo")) expect(hosts).toMatch(new RegExp(`^${address}\\s+echo$`, "m"));
  });

  it("write to the volumes of their image on a read-only root, and find there what the image has", async () => {
    const script = "cat /www/index.html && echo new > /www/more && cat /www/more && touch /srv 2>&1";
    expect((await inside("disk", script)).text).toMatch(/^here\nnew\n.*Read-only/);
  });

  it("give their volume away and get it back, but not while they use it", async () => {
    const volumes = JSON.parse((await run("mosctl", "volume", "list", "--json")).text).volumes;
    expect(volumes).toMatchObject([
      { label: "small-data", enforced: true, services: [{ name: "disk", isRunning: true }] },
    ]);
    await inside("disk", "rm -f /data/full; echo kept > /data/kept; mkdir /data/d; chmod 700 /data/d");
    const refused = await run("mosctl", "volume", "export", "-o", "/root/small.tar", "small-data");
    expect([refused.exit, refused.text]).toEqual([7, expect.stringContaining("disk uses it")]);
    const exported = await run("mosctl", "volume", "export", "--stop", "-o", "/root/small.tar", "small-data");
    expect(`${exported.exit} ${exported.text}`).toMatch(/^0 /);
    expect(
      (await run("tar", "--list", "--numeric-owner", "--verbose", "--file", "/root/small.tar")).text,
    ).toMatch(/ 0\/0 .* \.\/kept$/m);
    await inside("disk", "echo changed > /data/kept; touch /data/later");
    expect((await run("mosctl", "volume", "import", "-i", "/root/small.tar", "small-data")).exit).toBe(7);
    const imported = await run("mosctl", "volume", "import", "--stop", "-i", "/root/small.tar", "small-data");
    expect(`${imported.exit} ${imported.text}`).toMatch(/^0 /);
    expect((await inside("disk", "cat /data/kept; ls /data; stat -c '%u %a' /data/d")).text).toBe(
      "kept\nd\nkept\nlost+found\n0 700\n",
    );
    const unknown = await run("mosctl", "volume", "export", "-o", "/root/x", "nobody");
    expect(unknown.exit).toBe(2);
  });

  it("are looked into, worked in, and copied by programs too, over the socket of root alone", async () => {
    const socket = "--unix-socket /run/mos/mosd.sock";
    const curl = (more: string) => run("sh", "-c", `curl -s ${socket} ${more}`);
    const logs = await curl("'http://mos/v1/logs?service=first&lines=100'");
    const messages = logs.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).message);
    expect(messages.join("\n")).toContain("100% of $HOME");
    const odd = `$HOME %n \${x} $$`;
    const command = ["/bin/busybox", "sh", "-c", 'cat; echo "$1" >&2; exit 3', "sh", odd];
    const asked = { service: "disk", command, input: Buffer.from("in\n").toString("base64") };
    await machine.putFile("/root/exec.json", Buffer.from(JSON.stringify(asked)), 0o600);
    const answer = await curl("-d @/root/exec.json http://mos/v1/exec");
    const events = [...answer.text.matchAll(/^event: (.*)\ndata: (.*)\n$/gm)].map(([, name, data = ""]) => [
      name,
      JSON.parse(data),
    ]);
    const printed = (stream: string) =>
      events
        .map(([, { stream: of, data }]) => (of === stream ? Buffer.from(data, "base64").toString() : ""))
        .join("");
    expect([printed("stdout"), printed("stderr")]).toEqual(["in\n", `${odd}\n`]);
    expect(events.at(-1)).toEqual(["done", { exitCode: 3 }]);

    expect((await curl("'http://mos/v1/logs?service=nobody'")).text).toContain('"service-unknown"');
    expect((await curl("http://mos/v1/volumes")).text).toContain('"small-data"');
    const volume = "'http://mos/v1/volume?label=small-data";
    expect((await curl(`${volume}'`)).text).toContain('"volume-in-use"');
    expect((await curl(`-f -o /root/over.tar ${volume}&stop=true'`)).exit).toBe(0);
    await inside("disk", "echo changed > /data/kept; touch /data/later");
    // Half of an archive, and then nothing: what is in the volume stays.
    const half = `head -c 2000 /root/over.tar > /root/half.tar; curl -s ${socket} -T /root/half.tar ${volume}&stop=true'`;
    expect((await run("sh", "-c", half)).text).toContain('"error"');
    expect((await inside("disk", "cat /data/kept")).text).toBe("changed\n");
    expect((await curl(`-f -T /root/over.tar ${volume}&stop=true'`)).text).toContain('"small-data"');
    expect((await inside("disk", "cat /data/kept; ls /data")).text).toBe("kept\nd\nkept\nlost+found\n");

    const asNobody = (path: string) =>
      run("setpriv", "--reuid=nobody", "--clear-groups", "sh", "-c", `curl -s ${path}`);
    expect((await asNobody(`${socket} http://mos/v1/volumes`)).exit).not.toBe(0);
    const open = "--unix-socket /run/mos/status.sock";
    const { services } = JSON.parse((await asNobody(`${open} http://mos/v1/use`)).text);
    expect(services).toContainEqual(expect.objectContaining({ service: "disk", memory: expect.any(Number) }));
    for (const path of ["'http://mos/v1/logs?service=first'", "-d @/etc/hostname http://mos/v1/exec"])
      expect((await asNobody(`${open} ${path}`)).text).toContain("on this socket");
  });

  it("are started again when they end, until they have failed too often; the others run on (complaint 19)", async () => {
    await inside("disk", "touch /data/crash");
    await run("podman", "kill", "mos-disk");
    const show = ["systemctl", "show", "mos-svc-disk.service", "--property=NRestarts", "--value"];
    await machine.waitFor(
      "restarts",
      async () => Number((await run(...show)).text) >= 2 || undefined,
      120_000,
    );
    await expectWebUnhurt();
    // Between two of its ends it runs for a moment.
    await machine.waitFor(
      "the status to say so",
      async () => {
        const { health, services } = JSON.parse((await run("mosctl", "status", "--json")).text);
        const { state } = services.find(({ name }: { name: string }) => name === "disk");
        return (health === "degraded" && /restarting|failed|starting/.test(state)) || undefined;
      },
      120_000,
    );
  });

  it("come back by mosctl activate when what kept them down is gone, and nothing else is touched", async () => {
    const pid = (await run("systemctl", "show", "mos-svc-web.service", "--property=MainPID")).text;
    await run("systemctl", "stop", "mos-svc-disk.service");
    const mount = "mount -o loop /var/lib/mos/volumes/small-data..ext4 /mnt && rm /mnt/crash; umount /mnt";
    expect((await run("bash", "-c", mount)).text).toBe("");
    expect((await run("mosctl", "activate", "-t", "disk")).text).toContain("is active");
    expect((await inside("disk", "cat /data/kept")).text).toBe("kept\n");
    expect((await run("mosctl", "activate")).text).toContain("Nothing to do");
    expect((await run("systemctl", "show", "mos-svc-web.service", "--property=MainPID")).text).toBe(pid);
    expect((await run("mosctl", "activate", "-t", "nobody")).exit).toBe(2);
  });

  it("are controlled through the socket by root, and by nobody else", async () => {
    const call = `curl -s --unix-socket /run/mos/mosd.sock -d '{"service":"echo","action":"restart"}' http://mos/v1/service`;
    expect(JSON.parse((await run("bash", "-c", call)).text)).toMatchObject({
      service: "echo",
      state: "active",
    });
    const asNobody = await run(
      "setpriv",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "bash",
      "-c",
      `${call}; echo $?`,
    );
    expect(asNobody.text.trim()).toMatch(/[1-9][0-9]*$/);
    const read = call.replace("mosd.sock", "status.sock");
    expect((await run("bash", "-c", read)).text).not.toContain('"active"');
  });
});

describe("the examples", () => {
  const ipv6 = async (isOff: 0 | 1): Promise<void> => {
    const script = `for which in all default; do echo ${isOff} > /proc/sys/net/ipv6/conf/$which/disable_ipv6; done`;
    expect((await run("bash", "-c", script)).exit).toBe(0);
  };

  it("run, also on a device that has IPv6 off: sshd of another distribution, a registry, a web service behind which is a database", async () => {
    await ipv6(1);
    onTestFinished(() => ipv6(0));
    await update(await publisher.publish(await exampleServices(publisher.directory), "examples"));
    expect((await run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2222; timeout 20 head -c 15 <&3")).text).toBe(
      "SSH-2.0-OpenSSH",
    );
    expect((await run("curl", "-s", "--max-time", "20", "http://127.0.0.1/v2/")).text).toBe("{}\n");
    expect((await run("curl", "-s", "--max-time", "20", "http://127.0.0.1:443/")).text).toBe("web\n");
    expect((await run("mosctl", "logs", "migrate")).exit).toBe(0);
    // Nothing of the services before is left.
    const left = await run(
      "bash",
      "-c",
      "ls /run/systemd/system /run/containers/systemd | grep -E 'limited|echo|small'",
    );
    expect(left.text).toBe("");
  });

  it("run by the C library that each came with, beside PID 1, which has the host's alone", async () => {
    // Device and inode, and the path in the root of who has it.
    const libraries = async (process: string): Promise<readonly string[]> => {
      const script = `awk '$6 ~ /[.]so/ { print $4 ":" $5, $6 }' /proc/$(${process})/maps | sort -u`;
      return (await run("bash", "-c", script)).text.trim().split("\n");
    };
    const [host, musl, sshd] = [
      await libraries("echo 1"),
      await libraries("pgrep -xf /bin/service"),
      await libraries("pgrep -xo sshd"),
    ];
    expect(musl).toEqual([expect.stringMatching(/ [/]lib[/]ld-musl-x86_64[.]so[.]1$/)]);
    const isLibc = expect.arrayContaining([expect.stringMatching(/[/]libc[.]so[.]6$/)]);
    expect([host, sshd]).toEqual([isLibc, isLibc]);
    expect([...musl, ...sshd].filter((one) => host.includes(one))).toEqual([]);
    expect((await run("mosctl", "logs", "musl")).text).toContain("a program of musl runs");
    // Every library of PID 1 is the file of the host's own root that it was at the start.
    const script = `while read -r path; do stat -c '%i %n' "$path"; done <<< '${host.map((one) => one.split(" ")[1]).join("\n")}'`;
    const files = (await run("bash", "-c", script)).text.trim().split("\n");
    expect(files).toEqual(host.map((one) => one.replace(/^[^ ]*:/, "")));
    const libc = "lib/x86_64-linux-gnu/libc.so.6";
    const sums = await run(
      "bash",
      "-c",
      `sha256sum < /${libc}; sha256sum < /proc/$(pgrep -xo sshd)/root/${libc}`,
    );
    expect(new Set(sums.text.trim().split("\n")).size).toBe(2);
  });
});

describe("services that were stopped", () => {
  it("leave the firewall as it was found", async () => {
    await run("systemctl", "stop", "mos.target");
    // netavark leaves chains of its own, in which nothing is said of any address, port or bridge.
    const rules = (text: string) =>
      text.split("\n").filter((line) => /\b(saddr|ip6? daddr|dport|[io]ifname)\b/.test(line));
    await vi.waitFor(async () => expect(rules(await firewall())).toEqual(rules(othersRules)), {
      timeout: 120_000,
      interval: 1000,
    });
    expect((await run("nft", "list", "table", "inet", "others")).text).toBe(othersRules);
  });
});
