import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "../../src/system/process.ts";
import { checkout } from "../../tools/stamp.ts";
import { bootDevice } from "./harness.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let share: string;

beforeAll(async () => {
  share = await mkdtemp(join(tmpdir(), "mos-share-"));
  device = await bootDevice("boot", { share });
});

afterAll(async () => {
  await device?.[Symbol.asyncDispose]();
  await rm(share, { recursive: true, force: true });
});

describe("a guest", () => {
  it("boots without a failed unit", async () => {
    const { stdout } = await device.machine.exec(["systemctl", "--failed", "--plain", "--no-legend"]);
    expect(stdout).toBe("");
    expect(await device.machine.booted()).toBe("running");
  });

  it("has what mos stands on: dm-verity, squashfs, EROFS, overlays, cgroup v2", async () => {
    const { stdout } = await device.machine.exec(
      "modprobe -a dm_verity squashfs erofs overlay; dmsetup targets; cat /proc/filesystems; stat -fc %T /sys/fs/cgroup",
    );
    for (const word of [/^verity\s/m, /\tsquashfs$/m, /\terofs$/m, /\toverlay$/m, /^cgroup2fs$/m]) {
      expect(stdout).toMatch(word);
    }
  });

  it("has this checkout's package installed, with all its names", async () => {
    const { stdout: built } = await run(join(checkout, "dist/mos"), ["--version"]);
    const version = built.trim().split(" ").at(-1);
    const { stdout } = await device.machine.exec(
      "mosctl --version; mosb --version; mosd --version; mos-trust --version; dpkg -s mos | grep ^Version:",
    );
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(" ").at(-1)),
    ).toEqual(Array(5).fill(version));
  });

  it("reports exit codes, output and errors of commands, several at a time", async () => {
    const answers = await Promise.all(
      [0, 3, 7].map((code) =>
        device.machine.exec(`echo out ${code}; echo err >&2; exit ${code}`, { accept: "any" }),
      ),
    );
    expect(answers).toEqual(
      [0, 3, 7].map((exitCode) => ({ exitCode, stdout: `out ${exitCode}\n`, stderr: "err\n" })),
    );
    await expect(device.machine.exec(["false"])).rejects.toMatchObject({ code: "machine-failed" });
    await expect(device.machine.exec(["sleep", "60"], { timeoutMs: 300 })).rejects.toThrow(/within 300 ms/);
  });

  it("takes files in and gives them out unchanged, whatever is in them and in their names", async () => {
    const content = randomBytes(700_001);
    await device.machine.putFile("/var/tmp/a b/ü '\"\\", content, 0o600);
    expect((await device.machine.getFile("/var/tmp/a b/ü '\"\\")).equals(content)).toBe(true);
    expect((await device.machine.exec(["stat", "-c", "%a", "/var/tmp/a b/ü '\"\\"])).stdout).toBe("600\n");
  });

  it("reads a directory of the host", async () => {
    await writeFile(join(share, "hello"), "from the host");
    const { stdout } = await device.machine.exec(
      "mkdir -p /mnt/share && mount -t hostfs none /mnt/share -o hostfs=/machine/share && cat /mnt/share/hello",
    );
    expect(stdout).toBe("from the host");
  });

  it("talks to the host's side of its network, and the host to it", async () => {
    const { network, machine } = device;
    const serve = "require('node:http').createServer((_, r) => r.end('hello')).listen(8080, process.argv[1])";
    const [program, ...args] = network.command([process.execPath, "-e", serve, network.hostAddress]);
    const server = spawn(program, args, { stdio: "ignore" });
    try {
      const curl = ["curl", "-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
      const { stdout } = await machine.exec([...curl, `http://${network.hostAddress}:8080/`]);
      expect(stdout).toBe("hello");
    } finally {
      server.kill("SIGKILL");
      await once(server, "close");
    }
    // Nobody listens on the guest's port 9: that it says so at once shows that it was reached.
    const [probe, ...target] = network.command(["bash", "-c", `exec 3<>/dev/tcp/${network.guestAddress}/9`]);
    const refused = await run(probe, target, { accept: [1], timeoutMs: 10_000 });
    expect(refused.stderr).toMatch(/refused/);
    await network.setHost(false);
    const offline = await machine.exec(["curl", "-sS", "-m", "2", `http://${network.hostAddress}:8080/`], {
      accept: "any",
    });
    expect(offline.exitCode).not.toBe(0);
    await network.setHost(true);
  });

  it("has nothing of mos any more when its package is removed", async () => {
    const { machine } = device;
    // What the package makes by itself where podman is an older one goes too.
    await machine.exec(`cd /usr/lib/systemd/system-generators
mv podman-system-generator /root
printf '#!/bin/sh\\necho 4.9.3\\n' > podman-system-generator
chmod 755 podman-system-generator
/usr/lib/mos/quadlet-setup
mv /root/podman-system-generator .
test -L mos-quadlet-generator
test -e /usr/lib/mos/without-quadlet`);
    await machine.exec(["dpkg", "--remove", "mos"]);
    const found = await machine.exec("find /usr /run/systemd -name 'mos*' ! -path '*/mos-machine*'");
    expect(found.stdout).toBe("");
    expect((await machine.exec("systemctl --failed --plain --no-legend")).stdout).toBe("");
  });

  it("keeps what was synced over a power cut, and a reboot", { timeout: 300_000 }, async () => {
    const { machine } = device;
    await machine.exec("echo kept > /root/kept; sync");
    await machine.powerCut();
    await machine.start();
    expect(await machine.booted()).toBe("running");
    expect((await machine.exec(["cat", "/root/kept"])).stdout).toBe("kept\n");
    await machine.reboot();
    expect((await machine.exec(["cat", "/root/kept"])).stdout).toBe("kept\n");
    expect(await machine.booted()).toBe("running");
    await machine.powerOff();
    await expect(machine.exec(["true"])).rejects.toMatchObject({ code: "machine-failed" });
  });
});
