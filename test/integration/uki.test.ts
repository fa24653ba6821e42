// Unified kernel images by Debian's ukify, and what systemd itself says about them.
import { spawn } from "node:child_process";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bankFacts, banks } from "../../src/efi/bank.ts";
import { parsePe, sectionContent } from "../../src/efi/pe.ts";
import { signPcr11 } from "../../src/image/pcr-signature.ts";
import { defaultPhases, pcr11AtPhase, pcr11AtStart } from "../../src/image/pcr11.ts";
import { run } from "../../src/system/process.ts";
import { readSigningKey } from "../../src/trust/signature.ts";
import { toolsRoot } from "../../tools/roots.ts";
import { text, writePe } from "../unit/efi/pe-writer.ts";
import { trixiePrograms } from "./trixie-programs.ts";
import { makeWorkDirectory } from "./work-directory.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

let work: string;
let path: string;
beforeAll(async () => {
  work = await makeWorkDirectory();
  const tools = await toolsRoot();
  path = await trixiePrograms(tools, work, ["ukify", "/usr/lib/systemd/systemd-measure"]);
  // Any EFI program does for a kernel that is not started.
  await cp(join(tools, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"), file("vmlinuz"));
  await writeFile(file("initrd.zst"), Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3));
  await writeFile(file("initrd.lz4"), Uint8Array.of(0x02, 0x21, 0x4c, 0x18, 1, 2, 3));
  await writeFile(file("more.zst"), Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 4));
  await writeFile(file("os-release"), 'ID=mos\nPRETTY_NAME="mos test"\n');
  for (const name of ["pcr", "pcr2"]) {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    await writeFile(file(`${name}.pem`), privateKey.export({ type: "pkcs8", format: "pem" }));
    await writeFile(file(`${name}.pub`), publicKey.export({ type: "spki", format: "pem" }));
  }
  await mos("trust", "keyset", "add", "demo", "--key-type", "p256");
}, 900_000);
afterAll(() => rm(work, { recursive: true, force: true }));

const file = (name: string): string => join(work, name);
const keyOf = (name: string): readonly string[] => [
  ...["--key", file(`keys/demo/${name}/privkey.pem`), "--cert", file(`keys/demo/${name}/cert.pem`)],
];

async function mos(...args: readonly string[]) {
  const env = { MOS_KEYSETS: file("keys"), PATH: path };
  const { exitCode, stdout, stderr } = await run(process.execPath, [main, ...args], {
    ...{ accept: [0, 1, 2, 3, 4, 5, 6, 7, 8], env, cwd: work },
  });
  return { exit: exitCode, stdout, stderr };
}

const base = [
  "--linux",
  "vmlinuz",
  "--uname",
  "6.12.0",
  "--cmdline",
  "root=/dev/vda  ro",
  "--os-release",
  "os-release",
];
const build = (output: string, ...more: readonly string[]) =>
  mos("mosb", "uki", "build", ...base, "--output", output, ...more);
const inspect = async (name: string) =>
  JSON.parse((await mos("mosb", "uki", "inspect", "--json", name)).stdout);
const full = ["--initrd", "initrd.zst", "--pcr-private-key", "pcr.pem"];

describe.skipIf(process.getuid?.() !== 0)("mosb uki build", () => {
  test("puts everything into one image that both sign tools and mos accept", async () => {
    const { exit, stdout } = await build(
      "full.efi",
      ...full,
      "--pcr-public-key",
      "pcr.pub",
      ...keyOf("uki-production"),
    );
    expect([exit, stdout]).toEqual([
      0,
      expect.stringMatching(/^Built full\.efi: .*signed as CN=UKI Production/),
    ]);
    const { stdout: verified } = await run("sbverify", [
      "--cert",
      file("keys/demo/uki-production/cert.pem"),
      file("full.efi"),
    ]);
    expect(verified).toContain("Signature verification OK");
    expect(
      (await mos("trust", "verify", "efi", "--cert", file("keys/demo/uki-production/cert.pem"), "full.efi"))
        .exit,
    ).toBe(0);
    expect(await inspect("full.efi")).toMatchObject({
      commandLine: "root=/dev/vda  ro",
      osRelease: 'ID=mos\nPRETTY_NAME="mos test"\n',
      uname: "6.12.0",
      signatures: [{ subject: "CN=UKI Production" }],
      pcrSignatures: [{ bank: "sha256", phase: "enter-initrd", verdict: "holds" }],
    });
  });

  test("gives the same bytes for the same inputs, signatures and all", async () => {
    for (const name of ["first.efi", "second.efi"]) await build(name, ...full, ...keyOf("uki-production"));
    expect(await readFile(file("first.efi"))).toEqual(await readFile(file("second.efi")));
    expect((await build("first.efi", ...full, ...keyOf("uki-production"))).stdout).toContain("Nothing to do");
  });

  test("does not replace an image with other content", async () => {
    await writeFile(file("precious.efi"), "precious");
    const { exit, stderr } = await build("precious.efi");
    expect([exit, stderr]).toEqual([3, expect.stringContaining("code: output-exists")]);
    expect(await readFile(file("precious.efi"), "utf8")).toBe("precious");
  });

  test("takes several initrds, and several PCR keys each with its phases", async () => {
    const initrds = ["--initrd", "initrd.zst", "--initrd", "more.zst"];
    const keys = ["--pcr-private-key", "pcr.pem", "--pcr-private-key", "pcr2.pem"];
    const phases = ["--phases", "enter-initrd", "--phases", defaultPhases.join(",")];
    expect((await build("several.efi", ...initrds, ...keys, ...phases)).exit).toBe(0);
    const { pcrSignatures, sections } = await inspect("several.efi");
    expect(sections.find(({ name }: { name: string }) => name === ".initrd").size).toBe(16);
    expect(pcrSignatures.map(({ phase, verdict }: Record<string, string>) => [phase, verdict])).toEqual([
      ["enter-initrd", "holds"],
      ...defaultPhases.map((phase) => [phase, "other key"]),
    ]);
  });

  test.each([
    ["an lz4 initrd", "initrd-unusable", 3, ["--initrd", "initrd.lz4"]],
    ["an initrd that is not there", "file-unreadable", 3, ["--initrd", "no.zst"]],
    [
      "a public key of another pair",
      "key-invalid",
      3,
      ["--pcr-private-key", "pcr.pem", "--pcr-public-key", "pcr2.pub"],
    ],
    ["phases without a key", "usage", 2, ["--phases", "enter-initrd"]],
    ["a phase that is none", "usage", 2, ["--pcr-private-key", "pcr.pem", "--phases", "enter initrd"]],
    ["half of a key pair", "usage", 2, ["--key", "pcr.pem"]],
  ])("refuses %s", async (_what, code, exit, more) => {
    const answer = await build("refused.efi", ...more);
    expect([answer.exit, answer.stderr]).toEqual([exit, expect.stringContaining(`code: ${code}`)]);
    await expect(readFile(file("refused.efi"))).rejects.toThrow();
  });

  test.each([
    ["no command line", " "],
    ["a command line of two lines", "ro\ninit=/bin/sh"],
    ["a command line that the kernel would cut off", "x".repeat(2048)],
  ])("refuses %s", async (_what, commandLine) => {
    const args = [
      "mosb",
      "uki",
      "build",
      "--linux",
      "vmlinuz",
      "--cmdline",
      commandLine,
      "--output",
      "refused.efi",
    ];
    expect((await mos(...args)).exit).toBe(2);
  });

  test("says which package is missing", async () => {
    const env = { PATH: file("nothing") };
    const args = [main, "mosb", "uki", "build", ...base, "--output", "refused.efi"];
    const { stderr } = await run(process.execPath, args, { accept: [1], env, cwd: work });
    expect(stderr).toContain("hint: apt-get install systemd-ukify");
  });
});

describe.skipIf(process.getuid?.() !== 0)("mosb uki sign", () => {
  test("signs an image that was built unsigned", async () => {
    await build("unsigned.efi");
    expect((await inspect("unsigned.efi")).signatures).toEqual([]);
    expect((await mos("mosb", "uki", "sign", ...keyOf("uki-limited"), "unsigned.efi")).exit).toBe(0);
    expect((await inspect("unsigned.efi.signed")).signatures).toMatchObject([{ subject: "CN=UKI Limited" }]);
    const again = await mos("mosb", "uki", "sign", ...keyOf("uki-limited"), "unsigned.efi");
    expect(again.stdout).toContain("Nothing to do");
  });

  test("refuses what is no UKI, and what is cut off", async () => {
    const refused = await mos("mosb", "uki", "sign", ...keyOf("uki-limited"), "vmlinuz");
    expect([refused.exit, refused.stderr]).toEqual([4, expect.stringContaining("it is no UKI")]);
    await build("cut.efi");
    await truncate(file("cut.efi"), 50_000);
    const cut = await mos("mosb", "uki", "inspect", "cut.efi");
    expect([cut.exit, cut.stderr]).toEqual([4, expect.stringContaining("code: efi-image-malformed")]);
  });
});

/** The systemd of Debian 12 computes policies in a TPM, an emulated one here. */
async function withTpm<T>(use: (device: string) => Promise<T>): Promise<T> {
  await mkdir(file("tpm"));
  const socket = file("tpm/socket");
  const swtpm = spawn(
    "swtpm",
    [
      ...["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate", `dir=${file("tpm")}`],
      ...["--server", `type=unixio,path=${socket}`, "--ctrl", `type=unixio,path=${socket}.ctrl`],
    ],
    { stdio: "ignore" },
  );
  const ended = new Promise<void>((resolve) => {
    swtpm.once("error", () => resolve());
    swtpm.once("close", () => resolve());
  });
  try {
    while (!existsSync(`${socket}.ctrl`) || !existsSync(socket)) {
      if (swtpm.exitCode !== null || swtpm.pid === undefined) throw new Error("swtpm does not run");
      await setTimeout(20);
    }
    return await use(`swtpm:path=${socket}`);
  } finally {
    swtpm.kill();
    await ended;
  }
}

describe.skipIf(process.getuid?.() !== 0)("systemd-measure", () => {
  test("computes the same PCR 11 for every bank and phase", async () => {
    await build("measured.efi", "--initrd", "initrd.zst", "--pcr-private-key", "pcr.pem");
    const image = parsePe(await readFile(file("measured.efi")), "measured.efi");
    const parts: string[] = [];
    for (const name of ["linux", "osrel", "cmdline", "initrd", "uname", "sbat", "pcrpkey"]) {
      const section = image.sections.find((one) => one.name === `.${name}`);
      if (section === undefined) throw new Error(`no .${name}`);
      await writeFile(file(`part-${name}`), sectionContent(image, section));
      parts.push(`--${name}=${file(`part-${name}`)}`);
    }
    const { stdout } = await run(
      "systemd-measure",
      ["calculate", "--json=short", ...parts, ...banks.map((bank) => `--bank=${bank}`)],
      { env: { PATH: path }, cwd: work },
    );
    const theirs = JSON.parse(stdout);
    for (const bank of banks) {
      expect(bankFacts[bank].size).toBe(theirs[bank][0].hash.length / 2);
      const start = pcr11AtStart(image, bank);
      expect(
        defaultPhases.map((phase) => Buffer.from(pcr11AtPhase(start, bank, phase)).toString("hex")),
      ).toEqual(theirs[bank].map(({ hash }: { hash: string }) => hash));
    }
  });

  test("of this machine makes the same signatures", async (context) => {
    const sections = ["linux", "osrel", "cmdline", "initrd"].map((name) => ({
      name,
      content: text(`the ${name}`),
    }));
    for (const { name, content } of sections) await writeFile(file(`signed-${name}`), content);
    const image = writePe(sections.map(({ name, content }) => ({ name: `.${name}`, content })));
    const key = readSigningKey(await readFile(file("pcr.pem"), "utf8"), "pcr.pem");
    const phases = defaultPhases.slice(0, 2);
    const ours = signPcr11(parsePe(image, "x.efi"), [{ key, publicKey: createPublicKey(key), phases }]);
    const signed = await withTpm((device) =>
      run("/usr/lib/systemd/systemd-measure", [
        ...["sign", "--bank=sha256", `--tpm2-device=${device}`],
        ...[`--private-key=${file("pcr.pem")}`, `--public-key=${file("pcr.pub")}`],
        ...phases.map((phase) => `--phase=${phase}`),
        ...sections.map(({ name }) => `--${name}=${file(`signed-${name}`)}`),
      ]),
    ).catch(() => undefined);
    if (signed === undefined)
      return context.skip("no swtpm, or no systemd-measure with the libraries to use it");
    expect(JSON.parse(Buffer.from(ours).toString())).toEqual(JSON.parse(signed.stdout));
  });
});
