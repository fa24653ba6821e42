// Secrets from a publisher's file to a service's, with a real (software) TPM between them; who does not get them
// (attack A28); and that they are nowhere else.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadActive } from "../../src/agent/active.ts";
import { boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { bringSecrets } from "../../src/agent/secrets.ts";
import { ensureIdMaps } from "../../src/generation/idmaps.ts";
import { provision } from "../../src/provision/provision.ts";
import { groupsOf } from "../../src/services/render.ts";
import { formatTpmAddress } from "../../src/tpm/address.ts";
import { Tpm } from "../../src/tpm/tpm.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { addDevice } from "../../src/trust/sudi.ts";
import { contextIn, snapshot, updateEnding } from "./device-fixture.ts";
import { makeRoot } from "./publish-fixture.ts";
import { type Swtpm, startSwtpm } from "./swtpm-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

const main = join(import.meta.dirname, "../../src/main.ts");
const token = "correct horse battery staple";
const tlsKey = "the private key of a server, which is longer than a token";

let work: string;
let own: Swtpm;
let other: Swtpm;
/** All that any command has printed. */
let printed = "";

interface Answer {
  readonly exit: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

async function mos(args: readonly string[], stdin = ""): Promise<Answer> {
  const env = { ...process.env, MOS_KEYSETS: join(work, "keys") };
  const child = spawn(process.execPath, [main, ...args], { cwd: work, env });
  child.stdin.on("error", () => undefined).end(stdin);
  const ended = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  printed += stdout + stderr;
  return { exit: (await ended)[0], stdout, stderr };
}

async function good(args: readonly string[], stdin = ""): Promise<string> {
  const { exit, stdout, stderr } = await mos(args, stdin);
  expect(exit, stderr).toBe(0);
  return stdout;
}

/** A TPM that is provisioned, and the file with its key that a publisher has. */
async function provisioned(name: string): Promise<Swtpm> {
  const directory = join(work, name);
  await mkdir(directory);
  const swtpm = await startSwtpm(directory);
  const device = await addDevice(join(work, "keys"), "demo", "web", name);
  const read = (path: string): Promise<string> => readFile(path, "utf8");
  await provision({
    tpm: swtpm.address,
    certificate: await read(join(device.path, "cert.pem")),
    privateKey: await read(join(device.path, "privkey.pem")),
    adminKey: await read(join(work, "keys/demo/tpmpol-admin/cert.pem")),
    systemKey: await read(join(work, "keys/demo/tpmpol-luks/cert.pem")),
    wipe: false,
    onStep: () => undefined,
  });
  const pem = await good(["mosctl", "secret-key", "--tpm", formatTpmAddress(swtpm.address)]);
  await writeFile(join(work, `${name}.pem`), pem);
  return swtpm;
}

const manifestOf = (secrets: string, more = "") => `version: 1
product: p
targets:
  - service_name: web
    version: "1"
    nsgroup: web
    source: rootfs:root
    image: {entrypoint: [/bin/service]}
${secrets}
  - service_name: plain
    version: "1"
    nsgroup: plain
    source: rootfs:root
    image: {entrypoint: [/bin/service]}
${more}`;

/** Publishes, and returns the reference. */
async function publish(name: string, manifest: string): Promise<string> {
  await writeFile(join(work, "manifest.yaml"), manifest);
  const layout = `oci:${join(work, `layout-${name}`)}`;
  const place = ["--dest", layout, "--name", "web:1.0.0"];
  await good(["mosb", "manifest", "publish", "--project", "demo:web", ...place, "manifest.yaml"]);
  return `${layout}:1.0.0`;
}

async function encrypt(name: string, secret: string, ...to: readonly string[]): Promise<string> {
  await writeFile(join(work, "empty.yaml"), manifestOf(""));
  const recipients = to.flatMap((device) => ["--to", `${device}.pem`]);
  const flags = ["--service", "web", "--name", name, ...recipients];
  const entry = await good(["mosb", "secret", "encrypt", ...flags, "empty.yaml"], secret);
  return entry.replaceAll(/^/gm, "      ").trimEnd();
}

let device: AgentContext;
let reference: string;

function contextWith(root: string, tpm: AgentContext["trust"]["tpm"]): AgentContext {
  const context = contextIn(root);
  return { ...context, trust: { ...context.trust, tpm } };
}

beforeAll(async () => {
  if (process.getuid?.() !== 0) return;
  work = await makeWorkDirectory();
  await makeRoot(join(work, "root"), "one");
  await addKeyset({ root: join(work, "keys"), name: "demo", organizations: ["Example"], keyType: "p256" });
  await addProject(join(work, "keys"), "demo", "web");
  own = await provisioned("machine-1");
  other = await provisioned("machine-2");
  await writeFile(join(work, "tls.key"), tlsKey);
  const encrypted = await encrypt("token", token, "machine-1", "machine-2");
  const fromFile = `      - {name: tls.key, file: tls.key, recipients: [machine-1.pem]}`;
  reference = await publish("good", manifestOf(`    secrets:\n${encrypted}\n${fromFile}`));
});
afterAll(async () => {
  await own?.stop();
  await other?.stop();
  if (work !== undefined) await rm(work, { recursive: true, force: true });
});

let root: string;
beforeEach(async () => {
  if (work === undefined) return;
  root = join(work, `device-${Math.random().toString(36).slice(2)}`);
  await mkdir(root);
  await cp(join(work, "keys/demo/manifest-ca/cert.pem"), join(root, "ca.pem"));
  device = contextWith(root, own.address);
});

/** As far as an update comes where systemd does not run: everything is in place but started. */
async function updateDevice(from = reference, to = device): Promise<void> {
  const error = await updateEnding(to, from);
  expect(error.code, error.message).toBe("updated");
}

const unitOf = (service: string): Promise<string | undefined> =>
  readFile(join(device.quadletDirectory, `mos-svc-${service}.container`), "utf8").catch(() => undefined);

/** Where the unit of a service says that its secrets are. */
async function directoryOf(service: string): Promise<string> {
  const [, path] = /^Volume=(.+):\/run\/host\/credentials:ro,/m.exec((await unitOf(service)) ?? "") ?? [];
  if (path === undefined) throw new Error(`${service} has no secrets`);
  return path;
}

async function expectSecrets(): Promise<void> {
  const path = await directoryOf("web");
  const [range] = JSON.parse(await readFile(join(device.places.state, "idmaps.json"), "utf8")).maps;
  expect(range.nsgroup).toBe("web");
  expect(await stat(path)).toMatchObject({ uid: range.hostid, gid: range.hostid, mode: 0o40700 });
  expect((await readdir(path)).sort()).toEqual(["tls.key", "token"]);
  for (const [name, content] of [
    ["token", token],
    ["tls.key", tlsKey],
  ] as const) {
    expect(await readFile(join(path, name), "utf8")).toBe(content);
    const file = await stat(join(path, name));
    expect(file).toMatchObject({ uid: range.hostid, gid: range.hostid, mode: 0o100400 });
  }
}

/** Where no systemd runs nothing can be stopped, so that changed units are written only where there are none. */
async function forgetUnits(): Promise<void> {
  for (const path of [device.unitDirectory, device.quadletDirectory]) await rm(path, { recursive: true });
}

/** What a power cycle leaves of a device. */
async function powerCycle(): Promise<void> {
  await forgetUnits();
  await rm(device.places.run, { recursive: true });
  await own.restart();
}

/** The problems that a boot finds with the secrets of the generation that runs. */
async function problemsOf(context: AgentContext): Promise<readonly string[]> {
  const current = (await loadActive(context)).loaded;
  if (current === undefined) throw new Error("nothing was applied");
  const { manifest, images } = current;
  const idmaps = await ensureIdMaps(context.places, groupsOf(manifest));
  const { problems } = await bringSecrets(context, { manifest, images, idmaps });
  return problems.map(({ service, error }) => `${service}: ${error.code}`);
}

async function filesIn(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

describe.skipIf(process.getuid?.() !== 0)("a device with a TPM", () => {
  test("gives a service its secrets, for its own root alone, at the update and at each boot", async () => {
    await updateDevice();
    await expectSecrets();
    await powerCycle();
    await boot(device);
    await expectSecrets();
    expect(await unitOf("plain")).not.toContain("credentials");
  });

  test("keeps them nowhere but in memory, and says them to nobody", async () => {
    await updateDevice();
    await boot(device);
    const credentials = join(device.places.run, "credentials");
    const forms = [token, tlsKey].flatMap((secret) =>
      (["utf8", "base64", "hex"] as const).map((form) => Buffer.from(secret).toString(form)),
    );
    const places = [root, join(work, "layout-good"), own.state];
    const files = (await Promise.all(places.map(filesIn))).flat();
    expect(files.length).toBeGreaterThan(20);
    for (const file of files.filter((path) => !path.startsWith(credentials))) {
      const content = await readFile(file, "latin1");
      for (const form of forms) expect(content.includes(form), file).toBe(false);
    }
    for (const form of forms) expect(printed).not.toContain(form);
    expect((await filesIn(credentials)).length).toBe(2);
    expect((await stat(join(device.places.run, "secrets.json"))).mode & 0o777).toBe(0o600);
  });

  test("asks its TPM once in a boot, with three commands and one for each secret", async () => {
    await updateDevice();
    await powerCycle();
    let count = 0;
    const open = Tpm.open.bind(Tpm);
    Tpm.open = async (...args) => {
      const tpm = await open(...args);
      const close = tpm.close.bind(tpm);
      tpm.close = async () => {
        count += tpm.commandCount;
        await close();
      };
      return tpm;
    };
    try {
      await boot(device);
      const first = count;
      count = 0;
      // As mosd does when it is started again by its socket; what is left are the commands of the trust memory.
      await boot(device);
      expect(first - count).toBe(3 + 2);
      await expectSecrets();
    } finally {
      Tpm.open = open;
    }
  });

  test("restarts exactly the service whose secret has changed, and none when it was only encrypted anew", async () => {
    await updateDevice();
    const [web, plain] = [await unitOf("web"), await unitOf("plain")];
    const manifest = async (secret: string): Promise<string> =>
      manifestOf(
        `    secrets:\n${await encrypt("token", secret, "machine-1")}\n${await encrypt("tls.key", tlsKey, "machine-1")}`,
      );
    const before = await directoryOf("web");
    await forgetUnits();
    await updateDevice(await publish("anew", await manifest(token)));
    expect([await unitOf("web"), await unitOf("plain")]).toEqual([web, plain]);
    await forgetUnits();
    await updateDevice(await publish("changed", await manifest("another token")));
    expect(await unitOf("plain")).toBe(plain);
    expect(await unitOf("web")).not.toBe(web);
    expect(await readFile(join(await directoryOf("web"), "token"), "utf8")).toBe("another token");
    // Nothing runs from the old one any more.
    await expect(readFile(join(before, "token"), "utf8")).rejects.toThrow("ENOENT");
  });

  test("takes away what a manifest no longer gives", async () => {
    await updateDevice();
    await forgetUnits();
    await updateDevice(await publish("without", manifestOf("")));
    expect((await boot(device)).outcome.kind).toBe("unchanged");
    expect(await filesIn(join(device.places.run, "credentials"))).toEqual([]);
    expect(await unitOf("web")).not.toContain("credentials");
  });

  test("refuses, before anything changes, what is not encrypted to it or does not open", async () => {
    await updateDevice(await publish("before", manifestOf("")));
    const encrypted = await encrypt("token", token, "machine-1");
    const secrets = (entry: string) => manifestOf(`    secrets:\n${entry}`);
    const moved = secrets(encrypted.replace('name: "token"', "name: other"));
    const elsewhere = secrets(encrypted).replace("service_name: web", "service_name: mail");
    const cases: readonly (readonly [string, string])[] = [
      [secrets(await encrypt("token", token, "machine-2")), "not encrypted to this device"],
      [moved, "does not open"],
      [elsewhere, "does not open"],
      [secrets(encrypted).replace("product: p", "product: q"), "does not open"],
    ];
    for (const [i, [manifest, why]] of cases.entries()) {
      const from = await publish(`refused-${i}`, manifest);
      const before = await snapshot(device);
      const error = await updateEnding(device, from);
      expect(error).toMatchObject({
        code: "secret-unreadable",
        about: expect.stringMatching(/^(web|mail)$/),
      });
      expect(error.message).toContain(why);
      expect(await snapshot(device)).toEqual(before);
    }
    expect(await readdir(device.places.run)).not.toContain("credentials");
  });

  test("with its disk in another machine opens nothing: one service is a problem, the others run (A28)", async () => {
    await updateDevice(
      await publish("own", manifestOf(`    secrets:\n${await encrypt("token", token, "machine-1")}`)),
    );
    await powerCycle();
    const moved = contextWith(root, other.address);
    await boot(moved);
    expect(await unitOf("web")).toBeUndefined();
    expect(await unitOf("plain")).toBeDefined();
    expect(await filesIn(device.places.run)).not.toContainEqual(expect.stringContaining("token"));
    expect(await problemsOf(moved)).toEqual(["web: secret-unreadable"]);
    // And back in its own it is as it was.
    expect(await problemsOf(device)).toEqual([]);
  });

  test("without a TPM is told so, and runs what has no secrets", async () => {
    const without = contextWith(root, { kind: "device", path: join(root, "no-tpm") });
    const error = await updateEnding(without, reference);
    expect(error).toMatchObject({ code: "secret-unreadable", hint: expect.stringContaining("TPM") });
    await updateDevice(await publish("no-secrets", manifestOf("")), without);
  });

  test("that was never provisioned is told so", async () => {
    const directory = join(work, "blank");
    await mkdir(directory);
    const blank = await startSwtpm(directory);
    try {
      const error = await updateEnding(contextWith(root, blank.address), reference);
      expect(error).toMatchObject({ code: "secret-unreadable", hint: expect.stringContaining("provision") });
      const answer = await mos(["mosctl", "secret-key", "--json", "--tpm", formatTpmAddress(blank.address)]);
      expect(answer.exit).toBe(4);
      expect(JSON.parse(answer.stdout).error.code).toBe("tpm-unprovisioned");
    } finally {
      await blank.stop();
    }
  });

  test("does not use a key that was put in the place of its own and could be copied", async () => {
    const directory = join(work, "foreign");
    await mkdir(directory);
    const foreign = await startSwtpm(directory);
    try {
      const context = join(directory, "key.ctx");
      const attributes = "sensitivedataorigin|userwithauth|decrypt|noda";
      await foreign.tool(
        "tpm2_createprimary",
        "-C",
        "o",
        "-G",
        "ecc256:ecdh-sha256",
        "-a",
        attributes,
        "-c",
        context,
      );
      await foreign.tool("tpm2_evictcontrol", "-C", "o", "-c", context, "0x81010021");
      const answer = await mos([
        "mosctl",
        "secret-key",
        "--json",
        "--tpm",
        formatTpmAddress(foreign.address),
      ]);
      expect(JSON.parse(answer.stdout).error.code).toBe("tpm-unprovisioned");
    } finally {
      await foreign.stop();
    }
  });
});

describe.skipIf(process.getuid?.() !== 0)("mosctl secret-key", () => {
  test("prints what openssl reads, and whose it is", async () => {
    const address = formatTpmAddress(own.address);
    const { machine, key, pem } = JSON.parse(
      await good(["mosctl", "secret-key", "--json", "--tpm", address]),
    );
    expect(machine).not.toBe("");
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(pem).toBe(await readFile(join(work, "machine-1.pem"), "utf8"));
    const { stdout } = await own.tool("tpm2_readpublic", "-c", "0x81010021", "-f", "pem", "-o", "read.pem");
    expect(stdout).toContain("fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|decrypt");
    expect(await readFile(join(work, "machine-1/read.pem"), "utf8")).toBe(pem);
  });
});

describe.skipIf(process.getuid?.() !== 0)("mosb secret encrypt", () => {
  const flags = ["--service", "web", "--name", "token", "--to", "machine-1.pem", "--json"];
  test.each<[string, readonly string[], string, number, string]>([
    ["an empty secret", flags, "", 3, "secret-invalid"],
    ["a secret that is too large", flags, "x".repeat(65537), 3, "secret-invalid"],
    ["a secret that is not there", [...flags, "--file", "nowhere"], "", 3, "file-unreadable"],
    [
      "a service that the manifest does not have",
      ["--service", "mail", ...flags.slice(2)],
      token,
      2,
      "usage",
    ],
    [
      "a name that is no file's",
      ["--service", "web", "--name", "../x", ...flags.slice(4)],
      token,
      3,
      "name-invalid",
    ],
    ["a device's key that is none", [...flags, "--to", "empty.yaml"], token, 3, "key-invalid"],
    ["a private key", [...flags, "--to", "keys/demo/manifest-ca/privkey.pem"], token, 3, "key-invalid"],
    ["a certificate", [...flags, "--to", "keys/demo/manifest-ca/cert.pem"], token, 3, "key-invalid"],
    ["nobody", ["--service", "web", "--name", "token", "--json"], token, 2, "usage"],
  ])("refuses %s", async (_what, args, stdin, exit, code) => {
    await writeFile(join(work, "empty.yaml"), manifestOf(""));
    const answer = await mos(["mosb", "secret", "encrypt", ...args, "empty.yaml"], stdin);
    expect(JSON.parse(answer.stdout).error.code).toBe(code);
    expect(answer.exit).toBe(exit);
  });
});
