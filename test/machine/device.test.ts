// A device from its first manifest to its last reboot: what a person who runs it would see. One guest, the tests
// in order: each begins where the one before it ended.
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { Machine } from "../../src/machine/machine.ts";
import type { Network } from "../../src/machine/network.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;
let network: Network;
/** Where each published manifest is, by its tag. */
const references = new Map<string, string>();

function reference(tag: string): string {
  return references.get(tag) ?? expect.fail(`${tag} was not published`);
}

/** A root file system of its own for each service, so that each has a layer of its own. */
async function rootOf(name: string, page: string): Promise<string> {
  const path = join(publisher.directory, "roots", name);
  await mkdir(join(publisher.directory, "roots"), { recursive: true });
  await cp(await busyboxRoot(), path, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(path, "www/index.html"), page);
  return path;
}

const httpd = (port: number): string => `[/bin/serve, "${port}"]`;

function manifest(web: { root: string; version: string }, other: string, extra = ""): string {
  return `version: 1
product: test
storage:
  - {label: web-data, persistent: true, nsgroup: web, size: 16}
targets:
  - service_name: web
    source: "rootfs:${web.root}"
    image: {entrypoint: ${httpd(8080)}}
    version: "${web.version}"
    nsgroup: web
    network: {type: simple, ipv4: 10.0.3.99/24, ports: [{host: 80, container: 8080}]}
    storage: [{dest: /data, label: web-data}]
  - service_name: other
    source: "rootfs:${other}"
    image: {entrypoint: ${httpd(8081)}}
    version: "1"
    nsgroup: other
    network: {type: simple, ports: [{host: 81, container: 8081}]}
  - service_name: plain
    source: "rootfs:${other}"
    image: {entrypoint: [/bin/idle]}
    version: "1"
    nsgroup: none
    network: {type: none}
  - service_name: files
    source: "rootfs:${other}"
    service_type: fs-only
    version: "1"
${extra}`;
}

async function status(): Promise<Status> {
  const { stdout } = await machine.exec(["mosctl", "status", "--json"], { accept: [0, 4, 8] });
  return JSON.parse(stdout) as Status;
}

async function service(name: string): Promise<Status["services"][number]> {
  const found = (await status()).services.find((s) => s.name === name);
  return found ?? expect.fail(`status does not list ${name}`);
}

async function waitUntilWell(): Promise<void> {
  await machine.waitFor("every service to run", async () =>
    (await status()).health === "ok" ? true : undefined,
  );
}

/** What answers on a port of the device, asked from its network. */
async function fetchPage(port: number): Promise<string> {
  await machine.waitFor(
    `port ${port} to answer`,
    async () => (await network.canConnect(port)) || undefined,
    30_000,
  );
  const request = `exec 3<>/dev/tcp/${network.guestAddress}/${port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; timeout 10 cat <&3`;
  const [program, ...args] = network.command(["bash", "-c", request]);
  return (await run(program, args, { accept: [0, 1] })).stdout;
}

async function mainPid(name: string): Promise<string> {
  return (
    await machine.exec(["systemctl", "show", "-P", "MainPID", `mos-svc-${name}.service`])
  ).stdout.trim();
}

/** uid map of the service's own process. */
async function uidMap(name: string): Promise<string> {
  const script = `cat "/proc/$(podman inspect --format '{{.State.Pid}}' mos-${name})/uid_map"`;
  return (await machine.exec(script)).stdout.trim().replaceAll(/\s+/g, " ");
}

/** Everything persistent that decides what runs, as one digest. */
async function stateDigest(): Promise<string> {
  const script =
    "cd /var/lib/mos && { find generations idmaps.json -type f -exec sha256sum {} + | sort; readlink current previous || true; } | sha256sum";
  return (await machine.exec(script)).stdout;
}

beforeAll(async () => {
  device = await bootDevice("device");
  ({ machine, network } = device);
  publisher = await Publisher.create(network, (await buildUnderTest()).executable);
  await publisher.makeKeys();
  const [first, second, other] = [
    await rootOf("web-1", "web one"),
    await rootOf("web-2", "web two"),
    await rootOf("other", "other"),
  ];
  references.set("1", await publisher.publish(manifest({ root: first, version: "1" }, other), "1"));
  references.set("2", await publisher.publish(manifest({ root: second, version: "2" }, other), "2"));
  const erofs = manifest({ root: first, version: "3" }, other);
  references.set("erofs", await publisher.publish(erofs, "erofs", "--layer-format", "erofs"));
  await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa());
});

afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

describe("a device", () => {
  it("says that nothing was applied yet, and its agent has left no failed unit", async () => {
    expect((await status()).health).toBe("none");
    expect((await machine.exec("systemctl --failed --no-legend")).stdout.trim()).toBe("");
    const { stdout } = await machine.exec("journalctl -b -u mosd -o cat");
    expect(stdout).toContain("no manifest has been applied yet");
  });

  it("updates to a signed manifest and runs its services", async () => {
    const { stdout } = await machine.exec(["mosctl", "update", reference("1"), "--json"], {
      timeoutMs: 300_000,
    });
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "updated", generation: 1 });
    await waitUntilWell();
    const { services, trust } = await status();
    expect(services.map(({ name, state }) => `${name} ${state}`)).toEqual([
      ...["files mounted", "other running", "plain running", "web running"],
    ]);
    expect(trust?.signers.map(({ anchor }) => anchor)).toEqual(["file:/etc/mos/manifestCA.pem"]);
  });

  it("answers on its published ports", async () => {
    expect(await fetchPage(80)).toContain("web one");
    expect(await fetchPage(81)).toContain("other");
  });

  it("runs each nsgroup in a uid range of its own, and says so", async () => {
    expect(await uidMap("web")).toBe("0 100000 65536");
    expect(await uidMap("other")).toBe("0 165536 65536");
    expect(await service("web")).toMatchObject({
      ids: { first: 100_000, last: 165_535 },
      idsInEffect: "as allocated",
    });
  });

  it("runs nsgroup none under the host's ids, and says so", async () => {
    expect(await uidMap("plain")).toBe("0 0 4294967295");
    expect(await service("plain")).toMatchObject({ nsgroup: "none", idsInEffect: "as allocated" });
    expect((await service("plain")).ids).toBeUndefined();
  });

  it("takes away privileges that a service does not need", async () => {
    const script = `grep -E 'CapEff|NoNewPrivs|Seccomp:' "/proc/$(podman inspect --format '{{.State.Pid}}' mos-web)/status"`;
    const { stdout } = await machine.exec(script);
    expect(stdout).toMatch(/NoNewPrivs:\s+1/);
    expect(stdout).toMatch(/Seccomp:\s+2/);
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10: linux/capability.h
    expect(stdout).toMatch(/CapEff:\s+00000000000004fb/);
  });

  it("has the root of a service on dm-verity", async () => {
    const { stdout: table } = await machine.exec("dmsetup table --target verity");
    const { layers } = await service("web");
    expect(layers).toHaveLength(1);
    expect(layers[0]?.state).toBe("verified");
    expect(table).toContain(layers[0]?.rootHash);
    const { stdout: root } = await machine.exec("findmnt -n -o FSTYPE,OPTIONS /run/mos/roots/web");
    expect(root).toMatch(/overlay.*lowerdir=\/run\/mos\/layers\/[0-9a-f]{16}\/web/);
    expect((await machine.exec("findmnt -n -o SOURCE /run/mos/layers/*/web")).stdout).toContain(
      "/dev/mapper/mos-",
    );
  });

  it("gives a volume to its service, owned by the service's root", async () => {
    await machine.exec(["podman", "exec", "mos-web", "/bin/sh", "-c", "echo kept > /data/file"]);
    const { stdout } = await machine.exec(["stat", "-c", "%u:%g", "/var/lib/mos/volumes/web-data/file"]);
    expect(stdout.trim()).toBe("100000:100000");
  });

  it("mounts a target that does not run where others can read it, and nobody can write it", async () => {
    const { path } = await service("files");
    expect((await machine.exec(["cat", `${path}/www/index.html`])).stdout).toContain("other");
    expect((await machine.exec(["touch", `${path}/x`], { accept: "any" })).exitCode).not.toBe(0);
  });

  it("mounts a target where it is told to, verified, and closes its layers with the mount", async () => {
    const mapped = async () =>
      (await machine.exec("ls /dev/mapper")).stdout.match(/mos-mount-/g)?.length ?? 0;
    const mount = ["mosctl", "mount", "--json", "--target", "files", "--dest", "/mnt/files"];
    const { stdout } = await machine.exec([...mount, "--readonly"]);
    expect(JSON.parse(stdout)).toMatchObject({ target: "files", generation: 1, readOnly: true });
    expect((await machine.exec("cat /mnt/files/www/index.html")).stdout).toBe("other");
    expect((await machine.exec("touch /mnt/files/x", { accept: "any" })).exitCode).not.toBe(0);
    expect(await mapped()).toBe(1);
    await machine.exec("umount /mnt/files");
    expect(await mapped()).toBe(0);
    await machine.exec(mount);
    await machine.exec("echo changed > /mnt/files/www/index.html && umount /mnt/files");
    expect(await mapped()).toBe(0);
    const unknown = await machine.exec(["mosctl", "create-boot-fs"], { accept: "any" });
    expect(unknown.stderr).toContain("cannot mount hostfs: generation 1 has no such target");
  });

  it("does nothing when it is updated to the same manifest, and says so", async () => {
    const before = await stateDigest();
    const pids = [await mainPid("web"), await mainPid("other")];
    const { stdout } = await machine.exec(["mosctl", "update", reference("1")]);
    expect(stdout).toContain("Nothing to do");
    expect([await mainPid("web"), await mainPid("other")]).toEqual(pids);
    expect(await stateDigest()).toBe(before);
  });

  it("lets everybody look and only root change things", async () => {
    const asNobody = (...argv: string[]) =>
      machine.exec(["setpriv", "--reuid=65534", "--clear-groups", ...argv], { accept: "any" });
    expect((await asNobody("mosctl", "status")).exitCode).toBe(0);
    const refused = await asNobody("mosctl", "update", reference("2"));
    expect(refused.exitCode).toBe(6);
    expect(refused.stderr).toContain("permission-denied");
    const curl = "curl -s --unix-socket /run/mos/status.sock http://mos/v1/status";
    expect((await asNobody("sh", "-c", curl)).stdout).toContain('"health":"ok"');
  });

  it("replaces only what changed when it is updated to another manifest", async () => {
    const pids = { web: await mainPid("web"), other: await mainPid("other") };
    const { stdout } = await machine.exec(["mosctl", "update", reference("2"), "--json"], {
      timeoutMs: 300_000,
    });
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "updated", generation: 2, restarted: ["web"] });
    await waitUntilWell();
    expect(await fetchPage(80)).toContain("web two");
    expect(await mainPid("web")).not.toBe(pids.web);
    expect(await mainPid("other")).toBe(pids.other);
    expect((await status()).generation).toMatchObject({ number: 2, previous: 1 });
    expect(
      (await machine.exec(["podman", "exec", "mos-web", "/bin/busybox", "cat", "/data/file"])).stdout.trim(),
    ).toBe("kept");
  });

  it("goes back to the generation before and forth again, with no registry, and touches only what differs", async () => {
    await publisher.registry.stop();
    const other = await mainPid("other");
    const goBack = async (): Promise<unknown> =>
      JSON.parse((await machine.exec("mosctl rollback --json", { timeoutMs: 300_000 })).stdout);
    expect(await goBack()).toMatchObject({
      outcome: "rolled-back",
      generation: 1,
      from: 2,
      restarted: ["web"],
    });
    await waitUntilWell();
    expect(await fetchPage(80)).toContain("web one");
    const { stdout } = await machine.exec("mosctl history --json");
    expect(JSON.parse(stdout)).toMatchObject([
      { number: 2, state: "previous" },
      { number: 1, state: "current" },
    ]);
    expect(await goBack()).toMatchObject({ outcome: "rolled-back", generation: 2, from: 1 });
    await waitUntilWell();
    expect(await fetchPage(80)).toContain("web two");
    expect(await mainPid("other")).toBe(other);
    await publisher.registry.start();
  });

  it("comes up again after a reboot with nobody to ask, from what is on its disk (complaint 1)", async () => {
    await publisher.registry.stop();
    await network.setHost(false);
    await machine.reboot();
    await machine.booted();
    await waitUntilWell();
    const { stdout } = await machine.exec("journalctl -b -u mosd -o cat");
    expect(stdout).toContain("generation 2 verified, services starting");
    await network.setHost(true);
    expect(await fetchPage(80)).toContain("web two");
    await publisher.registry.start();
  });

  it("did not hold up basic.target, and its agent leaves when nobody needs it", async () => {
    const { stdout } = await machine.exec("systemctl show -P ActiveState basic.target multi-user.target");
    expect(stdout.split("\n").filter((line) => line !== "")).toEqual(["active", "active"]);
    await machine.waitFor("the agent to leave", async () => {
      const state = (await machine.exec("systemctl show -P ActiveState mosd.service")).stdout.trim();
      return state === "inactive" ? true : undefined;
    });
    expect((await status()).health).toBe("ok");
  });

  it("comes up whole after a power cut in the middle of an update", async () => {
    void machine.exec(["mosctl", "update", reference("1")], { accept: "any" }).catch(() => undefined);
    await machine.waitFor("the update to begin", async () => {
      const { stdout } = await machine.exec("ls /var/lib/mos/generations");
      return stdout.split("\n").includes("3") ? true : undefined;
    });
    await machine.powerCut();
    await machine.start();
    await machine.booted();
    await waitUntilWell();
    const page = await fetchPage(80);
    const { generation } = await status();
    expect(page).toContain(generation?.number === 3 ? "web one" : "web two");
  });

  describe("refuses, and changes nothing", () => {
    const refused = async (ref: string, code: string, exitCode: number) => {
      const before = await stateDigest();
      const pid = await mainPid("web");
      const { stdout, exitCode: actual } = await machine.exec(["mosctl", "update", ref, "--json"], {
        accept: "any",
      });
      expect(JSON.parse(stdout).error.code).toBe(code);
      expect(actual).toBe(exitCode);
      expect(await stateDigest()).toBe(before);
      expect(await mainPid("web")).toBe(pid);
    };

    it("a manifest of another CA", async () => {
      await publisher.mos("trust", "keyset", "add", "stranger");
      await publisher.mos("trust", "project", "add", "stranger", "zot");
      const name = "machine/install:stranger";
      const file = join(publisher.directory, "1.yaml");
      await publisher.mos(
        ...([
          "mosb",
          "manifest",
          "publish",
          "--project",
          "stranger:zot",
          "--repo",
          `http://${publisher.authority}`,
          "--name",
          name,
          file,
        ] as const),
      );
      await refused(`http://${publisher.authority}/${name}`, "chain-untrusted", 4);
    });

    it("a registry that is not there", async () => {
      await refused(`http://${network.hostAddress}:1/machine/install:1`, "registry-unreachable", 5);
    });

    it("a tag that is not there", async () => {
      await refused(`http://${publisher.authority}/machine/install:none`, "not-found", 5);
    });

    it("an image for which the disk has no room", async () => {
      const big = await rootOf("big", "big");
      await run("dd", [
        "if=/dev/urandom",
        `of=${join(big, "www/random")}`,
        "bs=1M",
        "count=40",
        "status=none",
      ]);
      const extra = `  - {service_name: big, source: "rootfs:${big}", service_type: fs-only, version: "1"}\n`;
      const ref = await publisher.publish(
        manifest(
          { root: join(publisher.directory, "roots/web-1"), version: "1" },
          join(publisher.directory, "roots/other"),
          extra,
        ),
        "big",
      );
      await machine.exec(
        "fallocate -l $(( $(stat -f -c '%a * %S' /var/lib/mos) - 30 * 1024 * 1024 )) /var/fill",
      );
      await refused(ref, "no-space", 6);
      await machine.exec("rm /var/fill");
    });
  });

  it("names a layer whose blob was altered on the disk; that service fails, the others run on", async () => {
    await machine.exec(["mosctl", "update", reference("1")], { timeoutMs: 300_000 });
    await waitUntilWell();
    const { layers } = await service("web");
    const blob = `/var/lib/mos/oci/blobs/sha256/${layers[0]?.digest.slice("sha256:".length)}`;
    // Everything but the first blocks, which have the superblock that mounting needs first.
    await machine.exec(
      `dd if=/dev/urandom of=${blob} bs=4096 seek=2 count=100 conv=notrunc status=none; sync`,
    );
    await machine.reboot();
    await machine.booted();
    await machine.waitFor("the damage to be named", async () =>
      (await service("web")).error?.code === "layer-corrupt" ? true : undefined,
    );
    const { stdout, exitCode } = await machine.exec(["mosctl", "status"], { accept: "any" });
    expect(exitCode).toBe(8);
    expect(stdout).toContain("layer-corrupt");
    expect((await service("web")).error?.about).toBe(layers[0]?.digest);
    expect(await service("other")).toMatchObject({ state: "running" });
    expect(await fetchPage(81)).toContain("other");
    // The device of the layer is there, whatever udev could read of it, and was not waited for.
    const device = `dev-mapper-mos\\x2d${layers[0]?.rootHash.slice(0, 16)}.device`;
    expect((await machine.exec(["systemctl", "is-active", device], { accept: "any" })).stdout).toBe(
      "active\n",
    );
  });

  it("is repaired by an update to the same manifest, which fetches the damaged layer again", async () => {
    const { stdout } = await machine.exec(["mosctl", "update", reference("1"), "--json"], {
      timeoutMs: 300_000,
    });
    expect(JSON.parse(stdout).outcome).toBe("repaired");
    await waitUntilWell();
    expect(await fetchPage(80)).toContain("web one");
  });

  it("runs from EROFS layers as it does from squashfs", async () => {
    await machine.exec(["mosctl", "update", reference("erofs")], { timeoutMs: 300_000 });
    await waitUntilWell();
    const mount = `/run/mos/layers/${(await service("web")).layers[0]?.rootHash.slice(0, 16)}/web`;
    expect((await machine.exec(["findmnt", "-n", "-o", "FSTYPE", mount])).stdout.trim()).toBe("erofs");
    expect(await fetchPage(80)).toContain("web one");
  });

  it("finds a release on a medium by itself when nothing on its disk can be verified, and gives nobody a shell", async () => {
    const stick = join(publisher.directory, "stick");
    const destination = ["--dest", `oci:${join(stick, "mos")}`, "--name", "install:recovery"];
    const file = join(publisher.directory, "1.yaml");
    await publisher.mos("mosb", "manifest", "publish", "--project", "demo:zot", ...destination, file);
    await run("tar", ["--create", "--file", `${stick}.tar`, "--directory", stick, "mos"]);
    await machine.putFile("/root/stick.tar", await readFile(`${stick}.tar`), 0o600);
    await machine.exec(
      `mkdir /root/stick; tar -C /root/stick -xf /root/stick.tar; truncate -s 64M /root/stick.img
       mkfs.ext4 -q -L MOS-RECOVER -d /root/stick /root/stick.img
       for file in /var/lib/mos/generations/*/install.json; do printf X | dd of=$file bs=1 seek=99 conv=notrunc status=none; done; sync`,
      { timeoutMs: 240_000 },
    );
    await machine.reboot();
    await machine.booted();
    await machine.waitFor("what it says of itself", async () => {
      const { stdout } = await machine.exec("mosctl status", { accept: "any" });
      return stdout.includes("Looked for a release") ? true : undefined;
    });
    expect((await machine.exec("podman ps --quiet")).stdout).toBe("");
    expect(machine.console()).toContain("nothing on this device can be verified");
    await machine.exec("losetup --find /root/stick.img");
    await machine.waitFor(
      "the release of the medium",
      async () => (machine.console().includes("Recovered by the medium MOS-RECOVER") ? true : undefined),
      300_000,
    );
    await waitUntilWell();
    expect(await fetchPage(80)).toContain("web one");
    await machine.waitFor("the medium to be let go", async () =>
      (await machine.exec("findmnt /run/mos/recovery", { accept: "any" })).exitCode === 0 ? undefined : true,
    );
  });
});
