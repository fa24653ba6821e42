// One start of a signed UKI, by a boot option that asks for another command line: what the chain from the firmware's
// keys to the agent looks like from inside, and what the machine's record of it is worth.
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseEventLog, replayEventLog } from "../../src/efi/event-log.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { run } from "../../src/system/process.ts";
import { withBootOption } from "./boot-option.ts";
import { Factory } from "./harness.ts";

let factory: Factory;
let machine: Machine | undefined;
/** Of PCR 7, as it was predicted from the keyset. */
let predicted: string;

const option = { description: "somebody's own", argumentsText: "init=/bin/sh rd.systemd.debug_shell=ttyS0" };

beforeAll(async () => {
  factory = await Factory.create();
  predicted = await factory.approve();
  const files = await factory.trustFiles({ anchors: ["efi-db"], product: factory.product });
  const uki = await factory.uki("boot.efi", { signer: factory.key("uki-production"), files });
  machine = await factory.machine({
    bootDisk: await factory.bootDisk(uki),
    stateDisk: await factory.stateDisk("state.img"),
    variables: await withBootOption(factory, await factory.variables("variables.fd"), option),
    tpmState: await factory.tpm("tpm"),
  });
  await machine.start();
  await machine.booted(400_000);
}, 1_200_000);
afterAll(async () => {
  if (machine !== undefined) await factory.retire("boot", machine);
  await factory?.dispose();
});

function running(): Machine {
  return machine ?? expect.fail("the machine did not start");
}

/** What a script prints. */
async function says(script: string): Promise<string> {
  return (await running().exec(script, { timeoutMs: 120_000 })).stdout.trim();
}

/** SHA-256 bank, hex, lower case. */
async function pcrs(): Promise<Map<number, string>> {
  const text = await says("cd /sys/class/tpm/tpm0/pcr-sha256; for pcr in {0..15}; do cat $pcr; done");
  return new Map(text.split("\n").map((value, pcr) => [pcr, value.toLowerCase()]));
}

describe("a machine that was started from a signed UKI", () => {
  test("has the signed command line, whatever the boot option asked for", async () => {
    expect(running().console()).toContain(`"${option.description}"`);
    expect(await says("cat /proc/cmdline")).toBe(factory.commandLine());
    expect(running().console()).not.toMatch(/^(sh|bash)-?[0-9.]*[#$]/m);
  });

  test("knows that Secure Boot is on, and locks its kernel", async () => {
    expect(await says("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*")).toBe("1");
    expect(await says("cat /sys/kernel/security/lockdown")).toContain("[integrity]");
  });

  test("has the certificates of the firmware's db in the kernel's keyring", async () => {
    const keyring = await says("keyctl show -x %:.platform");
    for (const name of ["UEFI DB", "UKI Production"]) expect(keyring).toContain(name);
  });

  test("runs from a verified root that nobody can write, and keeps only /var", async () => {
    expect(await says("findmnt -no FSTYPE /")).toBe("overlay");
    expect(await says("findmnt -no OPTIONS /")).toContain("lowerdir=/sysroot");
    // "V": valid so far; "C" when a block was not what its hash says.
    expect(await says("dmsetup status root")).toMatch(/ verity V/);
    expect(await says("findmnt -no SOURCE,FSTYPE /var")).toMatch(/^\/dev\/vd[a-z] +ext4$/);
  });

  test("runs the agent, which answers, and no unit has failed", async () => {
    const { stdout } = await running().exec(["mosctl", "status", "--json"], { accept: "any" });
    expect(JSON.parse(stdout)).toMatchObject({ health: "none", services: [] });
    expect(await says("systemctl --failed --no-legend --plain")).toBe("");
    expect(await says("systemctl is-active mosd.socket mosd-status.socket")).toBe("active\nactive");
  });

  test("has a record of its start that leads to what the TPM says", async () => {
    const log = await running().getFile("/sys/kernel/security/tpm0/binary_bios_measurements");
    const replayed = replayEventLog(parseEventLog(log, "binary_bios_measurements"), "sha256");
    const actual = await pcrs();
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 9])
      expect([pcr, replayed.get(pcr)]).toEqual([pcr, actual.get(pcr)]);
    expect(replayed.get(7)).toBe(predicted);
  });

  test("has measured no command line, credential or extension that was not signed", async () => {
    const actual = await pcrs();
    for (const pcr of [12, 13, 14]) expect([pcr, actual.get(pcr)]).toEqual([pcr, "0".repeat(64)]);
  });

  test("has closed PCR 7, once", async () => {
    const closing = createHash("sha256").update("atomix\n").digest();
    const closed = createHash("sha256").update(Buffer.from(predicted, "hex")).update(closing).digest("hex");
    expect((await pcrs()).get(7)).toBe(closed);
  });
});

// What the kernel and systemd do with a device that is not as it should be. mos opens devices by a root hash from a
// signed manifest, always with veritysetup and in a unit that ends by a deadline; these are the reasons.
describe("a verity device in the guest's kernel", () => {
  let rootHash: string;
  const [data, tree] = ["/run/facts/data", "/run/facts/tree"];

  /** Of a program that may not end, in a unit as mos writes them. */
  async function underDeadline(seconds: number, ...argv: string[]) {
    const started = performance.now();
    const result = await running().exec(
      ["systemd-run", "--wait", "--pipe", "--quiet", `--property=RuntimeMaxSec=${seconds}`, "--", ...argv],
      { accept: "any", timeoutMs: 120_000 },
    );
    return { ...result, seconds: (performance.now() - started) / 1000 };
  }

  beforeAll(async () => {
    await running().putFile(data, randomBytes(256 * 4096), 0o600);
    rootHash =
      /^Root hash:\s+([0-9a-f]{64})$/m.exec(await says(`veritysetup format ${data} ${tree}`))?.[1] ?? "";
    expect(rootHash).not.toBe("");
    // PKCS #7 over the root hash as text, by a key that the kernel has not in its keyrings.
    const [key, hash, signature] = ["stranger.key", "root.hash", "root.hash.p7s"].map((name) =>
      factory.path(name),
    );
    const subject = ["-subj", "/CN=Stranger", "-days", "2"];
    const pair = ["-keyout", key ?? "", "-out", `${key}.crt`];
    await run("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...subject, ...pair]);
    await writeFile(hash ?? "", rootHash);
    await run("openssl", [
      ...["smime", "-sign", "-binary", "-noattr", "-nocerts", "-outform", "der"],
      ...["-in", hash ?? "", "-signer", `${key}.crt`, "-inkey", key ?? "", "-out", signature ?? ""],
    ]);
    await running().putFile("/run/facts/signature", await readFile(signature ?? ""), 0o600);
    // A machine that does other work besides takes its time.
  }, 600_000);

  test("is refused with a signature of a key that the kernel does not have, and at once (A25)", async () => {
    const open = [
      "veritysetup",
      "open",
      "--root-hash-signature=/run/facts/signature",
      data,
      "facts",
      tree,
      rootHash,
    ];
    const { exitCode, stdout, stderr, seconds } = await underDeadline(40, ...open);
    expect(exitCode).not.toBe(0);
    expect(`${stdout}${stderr}`).toMatch(/key not available|Required key/i);
    expect(seconds).toBeLessThan(30);
    expect(await says("ls /dev/mapper")).not.toContain("facts");
  });

  test("gives an I/O error for the one block that is another, and the kernel says which", async () => {
    // Before the other tests that read what is corrupted: the kernel reports only so many of them in five seconds.
    await says(`printf x | dd of=${data} bs=1 seek=${73 * 4096} conv=notrunc status=none`);
    await says(`veritysetup open ${data} facts ${tree} ${rootHash}`);
    const read = (block: number) =>
      running().exec(
        ["dd", "if=/dev/mapper/facts", "of=/dev/null", "bs=4096", "count=1", `skip=${block}`, "iflag=direct"],
        {
          accept: "any",
        },
      );
    expect((await read(72)).exitCode).toBe(0);
    const bad = await read(73);
    expect([bad.exitCode, bad.stderr]).toEqual([1, expect.stringContaining("Input/output error")]);
    expect(await says("dmesg")).toContain("data block 73 is corrupted");
    expect(await says("dmsetup status facts")).toMatch(/ verity C/);
    await says("veritysetup close facts");
  });

  test("gives nothing of its data under another root hash", async () => {
    // The kernel looks at the tree when something is read: veritysetup warns, and need not fail.
    const other = `${rootHash.startsWith("0") ? "1" : "0"}${rootHash.slice(1)}`;
    const { exitCode } = await underDeadline(40, "veritysetup", "open", data, "facts", tree, other);
    if (exitCode === 0) {
      const read = ["dd", "if=/dev/mapper/facts", "of=/dev/null", "bs=4096", "count=1", "iflag=direct"];
      const result = await running().exec(read, { accept: "any" });
      expect([result.exitCode, result.stderr]).toEqual([1, expect.stringContaining("Input/output error")]);
      await says("veritysetup close facts");
    }
    expect(await says("ls /dev/mapper")).not.toContain("facts");
  });

  test("whose opening would wait for ever ends by the deadline of its unit, which says so", async () => {
    // Nobody ever writes to it: as a data device that does not answer, or a prompt that nobody sees.
    await says("mkfifo /run/facts/pipe");
    const open = ["veritysetup", "open", "/run/facts/pipe", "facts", tree, rootHash];
    const { exitCode } = await running().exec(
      [
        "systemd-run",
        "--quiet",
        "--unit=facts",
        "--service-type=oneshot",
        "--property=TimeoutSec=3",
        "--",
        ...open,
      ],
      { accept: "any", timeoutMs: 120_000 },
    );
    expect(exitCode).not.toBe(0);
    expect(await says("systemctl show facts --property=Result --value")).toBe("timeout");
  });
});
