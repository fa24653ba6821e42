// State that is encrypted to the TPM: made at the first start of an image that was written to a larger disk, opened at
// the next ones, and refused to everybody else. Six starts: only when MOS_TEST_ENCRYPT says so (docs/testing.md).
import { createHash } from "node:crypto";
import { open, truncate, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { Factory } from "./harness.ts";
import { systemDescription } from "./system-image.ts";

/** Everything is emulated, and a machine may have other work. */
const bootMs = 1_800_000;
const testMs = 2_400_000;
const mebibyte = 1024 ** 2;
const diskBytes = 3 * 1024 * mebibyte;

let factory: Factory;
let image: BuiltImage;
let machine: Machine | undefined;
let disk: string;
let variables: string;
let tpmState: string;
let recoveryKey: string;
const marks: string[] = [];
const begun = performance.now();

function mark(what: string): void {
  marks.push(`${Math.round((performance.now() - begun) / 1000)} s: ${what}`);
}

async function publish(): Promise<string> {
  const file = factory.path("manifest.yaml");
  await writeFile(
    file,
    `version: 1
product: ${factory.product}
release: { serial: 1 }
targets:
  - service_name: web
    version: "1"
    source: "rootfs:${await busyboxRoot()}"
    nsgroup: web
    image: { entrypoint: [/bin/busybox, sleep, "100000"] }
`,
  );
  const layout = `oci:${factory.path("release")}`;
  await factory.mos("mosb", "manifest", "publish", "--project", "demo:zot", "--dest", layout, file);
  return `${layout}:latest`;
}

async function machineWith(path: string, tpm: string): Promise<Machine> {
  return await createQemu({
    toolsRoot: factory.image.toolsRoot,
    variables,
    disks: [{ path, readOnly: false }],
    tpmState: tpm,
  });
}

beforeAll(async () => {
  factory = await Factory.create();
  await factory.approve();
  const file = factory.path("image.yaml");
  const more = {
    services: await publish(),
    disk: { esp: "128M", state: "64M", swap: "32M", encrypt: "tpm2" },
  };
  await writeFile(file, await systemDescription(factory, more));
  const flags = ["image", "build", "--json", "--output", factory.path("out"), file];
  image = JSON.parse(await factory.mos("mosb", ...flags));
  disk = factory.path("disk.img");
  await run("cp", ["--sparse=always", image.raw, disk]);
  await truncate(disk, diskBytes);
  variables = await factory.variables("variables.fd");
  tpmState = await factory.tpm("tpm");
  mark("the image is built");
  machine = await machineWith(disk, tpmState);
  await machine.start();
  await machine.booted(bootMs);
  mark("the first start is done");
}, 2_400_000);
afterAll(async () => {
  if (machine !== undefined) await factory.retire("encrypted", machine);
  process.stdout.write(`${marks.join("\n")}\n`);
  await factory?.dispose();
});

function running(): Machine {
  return machine ?? expect.fail("the machine did not start");
}

async function says(script: string): Promise<string> {
  return (await running().exec(script, { timeoutMs: 240_000 })).stdout.trim();
}

async function waitUntilWell(): Promise<Status> {
  return await running().waitFor(
    "services to be well",
    async () => {
      const asked = running().exec(["mosctl", "status", "--json"], { accept: "any", timeoutMs: 60_000 });
      const answer = await asked.catch(() => undefined);
      if (answer === undefined || !answer.stdout.startsWith("{")) return undefined;
      const status = JSON.parse(answer.stdout) as Status;
      return status.health === "ok" ? status : undefined;
    },
    bootMs,
  );
}

/** Where the state's partition is on a disk of ours, in MiB. */
async function stateStart(path: string): Promise<number> {
  const { stdout } = await run("sfdisk", ["--json", path]);
  const { partitions } = JSON.parse(stdout).partitiontable;
  return (partitions.at(-1).start * 512) / mebibyte;
}

/** What the state's partition begins with. */
async function stateHeader(path: string): Promise<Buffer> {
  await using handle = await open(path);
  const bytes = Buffer.alloc(16 * mebibyte);
  await handle.read(bytes, 0, bytes.length, (await stateStart(path)) * mebibyte);
  return bytes;
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** The disk with another state, and what its partition begins with. */
async function otherState(name: string, make: (state: string) => Promise<void>): Promise<string> {
  const [path, state] = [factory.path(`${name}.img`), factory.path(`${name}.state`)];
  await run("cp", ["--sparse=always", disk, path]);
  await make(state);
  const to = ["bs=1M", `seek=${await stateStart(path)}`, "conv=notrunc", "status=none"];
  await run("dd", [`if=${state}`, `of=${path}`, ...to]);
  return path;
}

async function refused(name: string, path: string, tpm: string, why: RegExp): Promise<string> {
  const before = digest(await stateHeader(path));
  const console = await factory.refusalOf(name, await machineWith(path, tpm), why, bootMs);
  expect(digest(await stateHeader(path))).toBe(before);
  mark(`refused: ${name}`);
  return console;
}

const encryptedSwap = /^\/dev\/dm-\d+\n0 \d+ crypt aes-xts-plain64 /;

describe.runIf(process.env["MOS_TEST_ENCRYPT"] !== undefined)("a device with an encrypted state", () => {
  test(
    "has encrypted it at its first start, in all the room that its disk has",
    async () => {
      expect(await says("findmnt -no SOURCE,FSTYPE /var")).toMatch(/^\/dev\/mapper\/mos-state +ext4$/);
      expect(await says("dmsetup table mos-state")).toMatch(/^0 \d+ crypt aes-xts-plain64 /);
      const status = await waitUntilWell();
      expect(await says("systemctl show -P Result mos-grow.service")).toBe("success");
      const size = "lsblk --bytes --noheadings --nodeps --output SIZE /dev/mapper/mos-state";
      expect(Number(await says(size))).toBeGreaterThan(2 * 1024 * mebibyte);
      expect(Number(await says("stat -f -c %b /var")) * 4096).toBeGreaterThan(2 * 1024 * mebibyte);
      expect(status.services).toMatchObject([{ name: "web" }]);
      expect(await says("systemctl --failed --no-legend")).toBe("");
      expect(await says("swapon --show=NAME --noheadings --raw; dmsetup table mos-swap")).toMatch(
        encryptedSwap,
      );
      await says("echo kept > /var/lib/kept; sync");
      mark("the first release runs");
    },
    testMs,
  );

  test("gives its key to nobody any more when its initrd is done", async () => {
    const script = "/usr/lib/dracut/modules.d/61mos-encrypt/mos-state-key.sh";
    const asked = await running().exec(
      `mkdir -m 0700 /run/try; sh ${script} find /dev/disk/by-partlabel/mos-state /run/try/key`,
      { accept: "any", timeoutMs: 120_000 },
    );
    expect(asked.exitCode).not.toBe(0);
    expect(asked.stderr).toContain("PCR 7 is not the one that the state was encrypted under");
  });

  test("gives its operator a recovery key, and a new one takes its place", async () => {
    const first = await says("mosctl recovery-key");
    recoveryKey = await says("mosctl recovery-key");
    for (const key of [first, recoveryKey]) expect(key).toMatch(/^([a-z]{8}-){7}[a-z]{8}$/);
    expect(recoveryKey).not.toBe(first);
    await says("sync");
  });

  test(
    "opens it again at the next start, with its services part of that",
    async () => {
      const boot = await says("cat /proc/sys/kernel/random/boot_id");
      await running().reboot();
      mark("the second start is done");
      expect(await says("cat /proc/sys/kernel/random/boot_id")).not.toBe(boot);
      expect(await says("cat /var/lib/kept")).toBe("kept");
      const status = await waitUntilWell();
      expect(status.boot?.initrd.outcome).toBe("applied");
      expect(await says("swapon --show=NAME --noheadings --raw; dmsetup table mos-swap")).toMatch(
        encryptedSwap,
      );
      await factory.retire("encrypted-first", running());
      machine = undefined;
    },
    testMs,
  );

  test("has nothing on its disk that can be read, and the recovery key opens it", async () => {
    const header = await stateHeader(disk);
    expect(header.subarray(0, 4).toString("latin1")).toBe("LUKS");
    const state = factory.path("state.copy");
    await run("dd", [`if=${disk}`, `of=${state}`, "bs=1M", `skip=${await stateStart(disk)}`, "status=none"]);
    expect((await run("blkid", ["-p", "-o", "value", "-s", "TYPE", state])).stdout.trim()).toBe(
      "crypto_LUKS",
    );
    const key = factory.path("recovery.key");
    await writeFile(key, recoveryKey, { mode: 0o600 });
    await run("cryptsetup", ["open", "--test-passphrase", "--key-file", key, state]);
    await run("grep", ["--quiet", "--text", "--fixed-strings", "install.json", state], { accept: [1] });
  });

  test(
    "is not opened by another machine's TPM",
    async () => {
      const other = await factory.tpm("tpm-other");
      const why = /nothing of it was changed: the TPM does not give its key\. A recovery key opens it/;
      const console = await refused("other-tpm", disk, other, why);
      expect(console).toContain("the key of the state is not of this TPM");
    },
    testMs,
  );

  test(
    "takes no plain file system for its state",
    async () => {
      const path = await otherState("plain", async (state) => {
        await run("mke2fs", ["-q", "-t", "ext4", "-L", "mos-state", state, "64M"]);
      });
      await refused("plain-state", path, tpmState, /is not encrypted, and this system's state has to be/);
    },
    testMs,
  );

  test(
    "takes no volume for its state that somebody else has made, with the name of its key in the header",
    async () => {
      const path = await otherState("foreign", async (state) => {
        const [own, key] = [factory.path("own.state"), factory.path("foreign.key")];
        await writeFile(own, await stateHeader(disk));
        const { stdout } = await run("cryptsetup", ["token", "export", "--token-id", "0", own]);
        await writeFile(key, Buffer.alloc(32, 7), { mode: 0o600 });
        await writeFile(state, Buffer.alloc(64 * mebibyte));
        const form = ["--cipher", "aes-xts-plain64", "--hash", "sha256", "--key-file", key];
        const guess = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        await run("cryptsetup", ["luksFormat", "--batch-mode", "--type", "luks2", ...form, ...guess, state]);
        await run("cryptsetup", ["token", "import", "--json-file", "-", state], { stdin: stdout });
      });
      await refused("foreign-state", path, tpmState, /its volume is not opened by its key/);
    },
    testMs,
  );

  test(
    "still opens its own, which nobody has changed",
    async () => {
      machine = await machineWith(disk, tpmState);
      await machine.start();
      await machine.booted(bootMs);
      mark("the last start is done");
      expect(await says("cat /var/lib/kept")).toBe("kept");
    },
    testMs,
  );
});
