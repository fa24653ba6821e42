// One device from its factory to its end of life, with Secure Boot and a TPM: provisioned, started, updated under an
// anchor in the firmware and one in the TPM, and refused whatever would bring it back. The steps build on each other.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { ErrorDocument } from "../../src/errors/mos-error.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { qemuHostAddress } from "../../src/machine/qemu.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { startRegistry } from "../integration/registry-fixture.ts";
import { Factory, type Parts } from "./harness.ts";

let factory: Factory;
let registry: Awaited<ReturnType<typeof startRegistry>>;
let common: Omit<Parts, "bootDisk">;
let machine: Machine | undefined;
let pcr7: string;
const secret = "correct-horse-battery-staple";

/**
 * Publishes a release; `project` signs it.
 * @param more lines of the target
 * @returns what the device is told to update to
 */
async function publish(tag: string, release: string, project = "demo:zot", more = ""): Promise<string> {
  const file = factory.path(`${tag}.yaml`);
  const root = await busyboxRoot();
  await writeFile(
    file,
    `version: 1
product: ${project === "demo:zot" ? factory.product : "default"}
release: ${release}
targets:
  - service_name: web
    version: "${tag}"
    source: "rootfs:${root}"
    nsgroup: web
    image: { entrypoint: [/bin/busybox, sleep, "100000"] }
${more}`,
  );
  const name = `machine/install:${tag}`;
  await factory.mos(
    "mosb",
    "manifest",
    "publish",
    "--project",
    project,
    "--repo",
    `http://${registry.authority}`,
    "--name",
    name,
    file,
  );
  return `http://${registry.authority.replace("127.0.0.1", qemuHostAddress)}/${name}`;
}

beforeAll(async () => {
  factory = await Factory.create();
  registry = await startRegistry();
  pcr7 = await factory.approve();
  common = {
    stateDisk: await factory.stateDisk("state.img"),
    variables: await factory.variables("variables.fd"),
    tpmState: await factory.tpm("tpm"),
  };
  await factory.mos("trust", "sudi", "add", "demo", "zot", "machine-1");
  await addKeyset({ root: factory.keysets, name: "other", organizations: [], keyType: "p256" });
  await addProject(factory.keysets, "other", "zot");
}, 900_000);
afterAll(async () => {
  if (machine !== undefined) await factory.retire("device", machine);
  await registry.stop();
  await factory.dispose();
});

function running(): Machine {
  if (machine === undefined) throw new Error("an earlier step has not started the machine");
  return machine;
}

async function start(uki: string, parts: Partial<Parts> = {}): Promise<Machine> {
  machine = await factory.machine({ ...common, ...parts, bootDisk: await factory.bootDisk(uki) });
  await machine.start();
  await machine.booted(400_000);
  return machine;
}

async function stop(name: string): Promise<void> {
  await running().powerOff();
  await factory.retire(name, running());
  machine = undefined;
}

const json = async <T>(...argv: string[]): Promise<T> => {
  const { stdout } = await running().exec([...argv, "--json"], { accept: "any", timeoutMs: 300_000 });
  return JSON.parse(stdout) as T;
};
const status = (): Promise<Status> => json("mosctl", "status");
const update = (reference: string, ...flags: string[]) =>
  json<{ readonly outcome?: string; readonly error?: ErrorDocument }>(
    "mosctl",
    "update",
    reference,
    ...flags,
  );
const refusedBy = async (reference: string, ...flags: string[]): Promise<string | undefined> =>
  (await update(reference, ...flags)).error?.code;

async function waitUntilWell(): Promise<void> {
  await running().waitFor(
    "services to be well",
    async () => ((await status()).health === "ok" ? true : undefined),
    240_000,
  );
}

describe("a device with Secure Boot and a TPM", () => {
  it("starts its factory's UKI, verified, with a TPM that is nobody's", async () => {
    const files = await factory.trustFiles({ anchors: ["efi-db"], product: factory.product });
    await start(await factory.uki("factory.efi", { signer: factory.key("uki-production"), files }));
    const { stdout } = await running().exec("journalctl -b -u mos-initrd -o cat");
    expect(stdout).toContain("The TPM was not provisioned; PCR 7 is closed.");
    expect((await running().exec("cat /sys/kernel/security/lockdown")).stdout).toContain("[integrity]");
    expect((await running().exec("systemctl --failed --no-legend")).stdout.trim()).toBe("");
  });

  it("takes a first release under the CA in the firmware's db", async () => {
    expect(await update(await publish("1", "{ serial: 1 }"))).toMatchObject({ outcome: "updated" });
    await waitUntilWell();
    expect((await status()).trust).toMatchObject({
      policy: "/run/mos/initrd/policy.json",
      signers: [{ anchor: "efi-db" }],
      product: { name: factory.product },
      memory: "file",
      secureBoot: { state: "enabled" },
    });
  });

  it("is provisioned", async () => {
    const sudi = (name: string) => readFile(factory.key("manifest/zot/sudi/machine-1", name));
    await running().putFile("/run/cert.pem", await sudi("cert.pem"));
    await running().putFile("/run/key.pem", await sudi("privkey.pem"), 0o600);
    await running().putFile("/run/ca.pem", await readFile(factory.key("manifest-ca/cert.pem")));
    await running().exec("mos-trust provision --anchor /run/ca.pem /run/cert.pem /run/key.pem");
    await stop("factory");
    // A stranger copies the disk while the device is on its way.
    await copyFile(common.stateDisk, factory.path("copy.img"));
  });

  it("gets its secrets in the initrd of the production UKI, at the PCR 7 that was predicted", async () => {
    const files = await factory.trustFiles({
      ...{ anchors: ["tpm-nv:0x01500063"], product: factory.product, tpm: "required" },
    });
    await start(await factory.uki("production.efi", { signer: factory.key("uki-production"), files }));
    const { stdout } = await running().exec("journalctl -b -u mos-initrd -o cat");
    expect(stdout).toContain("The device's secrets are in memory, and PCR 7 is closed.");
    expect((await running().exec("stat -c %a /run/mos/secure /run/mos/secure/server.key")).stdout).toBe(
      "700\n600\n",
    );
    expect((await running().exec("grep -c machine:luks /proc/keys")).stdout.trim()).toBe("1");
    const log = (await running().exec("journalctl -b -o cat")).stdout;
    expect(log).not.toMatch(/trust-[0-9a-f]{20}/);
    expect(log).not.toContain("PRIVATE KEY");
  });

  it("does not read them again after the handover (A28)", async () => {
    const { exitCode, stdout } = await running().exec(
      ["mos-trust", "initrd-setup", "--json", "--directory", "/run/again"],
      {
        accept: "any",
      },
    );
    expect(exitCode).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "signdata-missing" } });
    const raw = await running().exec(
      "tpm2_startauthsession -S s --policy-session; tpm2_policypcr -S s -l sha256:7 >/dev/null; tpm2_nvread 0x1500040 -P session:s",
      { accept: "any" },
    );
    expect(raw.exitCode).not.toBe(0);
    expect(raw.stdout).not.toContain("trust-");
    const { stdout: value } = await running().exec("tpm2_pcrread sha256:7");
    expect(value.toLowerCase()).not.toContain(pcr7);
  });

  it("runs what was applied, now under the CA in the TPM, and keeps its epoch there", async () => {
    await waitUntilWell();
    expect((await status()).trust).toMatchObject({
      signers: [{ anchor: "tpm-nv:0x01500063" }],
      product: { name: factory.product },
      memory: "tpm",
      lowestEpoch: 0,
      secureBoot: { state: "enabled" },
    });
  });

  it("refuses a manifest under a CA that is in neither", async () => {
    expect(await refusedBy(await publish("stranger", "{ serial: 2 }", "other:zot"))).toBe("chain-untrusted");
  });

  it("opens a secret that no other TPM opens, for the one service that it is for", async () => {
    await writeFile(factory.path("machine-1.pem"), (await running().exec("mosctl secret-key")).stdout);
    await writeFile(factory.path("token"), secret);
    const secrets = "    secrets: [{ name: token, file: ./token, recipients: [machine-1.pem] }]\n";
    const reference = await publish("secret", "{ serial: 2 }", "demo:zot", secrets);
    expect(await update(reference)).toMatchObject({ outcome: "updated" });
    await waitUntilWell();
    const read = "podman exec mos-web /bin/busybox sh -c 'cat \"$CREDENTIALS_DIRECTORY/token\"'";
    expect((await running().exec(read)).stdout).toBe(secret);
    const onDisk = await running().exec(
      ["grep", "-rlF", secret, "/var/lib/mos", "/etc", "/run/systemd/system"],
      {
        accept: "any",
      },
    );
    expect([onDisk.exitCode, onDisk.stdout]).toEqual([1, ""]);
    expect((await running().exec("journalctl -b -o cat")).stdout).not.toContain(secret);
  });

  it("attests what it has started and what it runs, to another machine (A29)", async () => {
    const nonce = (await factory.mos("trust", "attest", "nonce")).trim();
    const { stdout } = await running().exec(["mosctl", "attest", "--nonce", nonce]);
    const document = factory.path("attestation.json");
    await writeFile(document, stdout);
    expect(stdout).not.toContain("PRIVATE KEY");
    const verify = (...more: string[]) =>
      factory.mos("trust", "attest", "verify", document, "--ca", factory.key("sudi-ca/cert.pem"), ...more);
    const said = await verify(
      ...["--nonce", nonce, "--product", factory.product, "--machine", "machine-1", "--pcr", `7=${pcr7}`],
      ...["--manifest-ca", factory.key("manifest-ca/cert.pem")],
    );
    expect(said).toContain("machine-1");
    const other = (await factory.mos("trust", "attest", "nonce")).trim();
    await expect(verify("--nonce", other)).rejects.toThrow("exited with 4");
    await expect(verify("--nonce", nonce, "--pcr", `7=${"0".repeat(64)}`)).rejects.toThrow("exited with 4");
    await expect(verify("--nonce", nonce, "--min-epoch", "1")).rejects.toThrow("exited with 4");
  });

  it("goes to a new epoch, and not back", async () => {
    expect(await update(await publish("2", "{ serial: 1, epoch: 2 }"))).toMatchObject({ outcome: "updated" });
    const older = await publish("3", "{ serial: 9, epoch: 1 }");
    expect(await refusedBy(older)).toBe("release-epoch-low");
    expect(await refusedBy(older, "--allow-older")).toBe("release-epoch-low");
    expect((await status()).trust).toMatchObject({ memory: "tpm", lowestEpoch: 2 });
    await stop("after-epoch");
  });

  it("does not run the older release when the whole disk is put back (A02)", async () => {
    await start(factory.path("production.efi"), { stateDisk: factory.path("copy.img") });
    const { health, error, services } = await status();
    expect([health, error?.code, services]).toEqual(["refused", "release-epoch-low", []]);
    expect((await running().exec("podman ps --quiet")).stdout.trim()).toBe("");
    await stop("disk-put-back");
  });

  it("does not get its secrets when the firmware's keys are others (PCR 7)", async () => {
    const variables = await factory.variablesWithAnotherKey("changed.fd");
    const bootDisk = await factory.bootDisk(factory.path("production.efi"));
    const refused = /Failed to start .*mos-initrd[\s\S]*Power down/;
    const console = await factory.refusal("changed-pcr7", { ...common, variables, bootDisk }, refused);
    expect(console).toContain("signdata-missing");
  });
});
