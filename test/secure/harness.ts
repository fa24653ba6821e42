// Machines with firmware keys of their own for the secure lane: a keyset, signed UKIs, variables, TPMs, disks for
// state. Everything of one test file is in one directory; the root file system is shared and never written.
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { directPcr7, readFirmwareKeys } from "../../src/efi/keyset-firmware.ts";
import { makeVariables } from "../../src/efi/ovmf-variables.ts";
import { type InitrdFile, initrdArchive } from "../../src/image/cpio.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { addSigndata } from "../../src/provision/signdata-write.ts";
import { run } from "../../src/system/process.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { cacheDirectory } from "../../tools/cache.ts";
import { type SecureImage, secureImage } from "../../tools/secure-image.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { trixiePrograms } from "../integration/trixie-programs.ts";

const mebibyte = 1024 * 1024;

/** What the kernel is told besides where its root is: a console, and what makes emulation quicker. */
export const guestOptions: readonly string[] = [
  ...["console=ttyS0", "loglevel=4", "systemd.show_status=1", "systemd.log_color=0"],
  ...["lsm=landlock,lockdown", "mitigations=off", "tsc=reliable", "clocksource=tsc"],
  ...["audit=0", "random.trust_cpu=on", "no_timer_check", "panic=5"],
  // A root that cannot be verified never appears; it takes 6 s to, emulated.
  "systemd.default_device_timeout_sec=30",
];

/** What a machine is put together from. */
export interface Parts {
  readonly bootDisk: string;
  readonly stateDisk: string;
  /** The firmware's flash memory; the machine writes to it. */
  readonly variables: string;
  /** Undefined for a machine without a TPM. */
  readonly tpmState: string | undefined;
  /** Default: the one of the image. */
  readonly rootDisk?: string;
}

export class Factory {
  readonly directory: string;
  readonly image: SecureImage;
  readonly executable: string;
  /** The product's uuid. */
  readonly product: string;

  private constructor(directory: string, image: SecureImage, executable: string, product: string) {
    this.directory = directory;
    this.image = image;
    this.executable = executable;
    this.product = product;
  }

  /** Makes the image, and a keyset `demo` with a project `zot`. Dispose of the result. */
  static async create(): Promise<Factory> {
    const built = await buildUnderTest();
    const image = await secureImage(built.packageFile);
    const directory = await mkdtemp(join(tmpdir(), "mos-secure-"));
    const root = join(directory, "keys");
    await addKeyset({ root, name: "demo", organizations: ["Example"], keyType: "p256" });
    const { uuid } = await addProject(root, "demo", "zot");
    const programs = ["ukify", "sbsign", "virt-fw-vars", "dump.erofs"];
    process.env["PATH"] = await trixiePrograms(image.toolsRoot, directory, programs);
    await copyFile(image.kernel, join(directory, "vmlinuz"));
    await copyFile(image.initrd, join(directory, "initrd"));
    await copyFile(image.osRelease, join(directory, "os-release"));
    return new Factory(directory, image, built.executable, uuid);
  }

  /** The directory of all keysets. */
  get keysets(): string {
    return join(this.directory, "keys");
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  key(...parts: readonly string[]): string {
    return join(this.keysets, "demo", ...parts);
  }

  /** Calls one of the names of the executable on this machine. */
  async mos(name: "mosb" | "mosctl" | "trust", ...args: readonly string[]): Promise<string> {
    const { stdout } = await run(this.executable, [name, ...args], {
      timeoutMs: 900_000,
      cwd: this.directory,
      env: { MOS_KEYSETS: this.keysets },
    });
    return stdout;
  }

  /** Approves the PCR 7 that {@link variables} and a UKI of `uki-production` lead to. @returns its value */
  async approve(): Promise<string> {
    const value = directPcr7(await readFirmwareKeys(this.keysets, "demo"), true);
    const production = Buffer.from(value, "hex");
    const other = (fill: number): Uint8Array => Buffer.alloc(32, fill);
    await addSigndata({
      ...{ root: this.keysets, keyset: "demo", comment: "secure lane", date: "20260101" },
      pcr7: { production, limited: other(1), tpm: other(2) },
    });
    return value;
  }

  /** What the initrd of a UKI says about trust. */
  async trustFiles(policy: object): Promise<InitrdFile[]> {
    const file = (path: string, content: Uint8Array): InitrdFile => ({
      ...{ path: `etc/mos/initrd/${path}`, mode: 0o644, content },
    });
    const files = [file("policy.json", Buffer.from(JSON.stringify({ version: 1, ...policy })))];
    const signdata = this.key("pcr7data");
    for (const entry of await readdir(signdata, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      files.push(file(`pcr7data/${relative(signdata, path)}`, await readFile(path)));
    }
    return files;
  }

  /** The signed part of what the kernel is told. */
  commandLine(rootHash = this.image.rootHash): string {
    return [
      ...[`roothash=${rootHash}`, "root=/dev/mapper/root", "ro", "rootfstype=erofs"],
      ...["systemd.volatile=overlay", ...guestOptions],
    ].join(" ");
  }

  /**
   * Builds a UKI.
   * @param signer a key's directory with privkey.pem and cert.pem; undefined leaves it unsigned
   * @returns its path
   */
  async uki(
    name: string,
    options: {
      readonly commandLine?: string;
      readonly files?: readonly InitrdFile[];
      readonly signer: string | undefined;
    },
  ): Promise<string> {
    const more = this.path(`${name}.cpio`);
    await writeFile(more, initrdArchive(options.files ?? []));
    const path = this.path(name);
    const { signer } = options;
    await run(
      "ukify",
      [
        ...[
          "build",
          `--linux=${this.path("vmlinuz")}`,
          `--initrd=${this.path("initrd")}`,
          `--initrd=${more}`,
        ],
        ...[
          `--os-release=@${this.path("os-release")}`,
          `--cmdline=${options.commandLine ?? this.commandLine()}`,
        ],
        ...(signer === undefined
          ? []
          : [
              "--signtool=sbsign",
              `--secureboot-private-key=${join(signer, "privkey.pem")}`,
              `--secureboot-certificate=${join(signer, "cert.pem")}`,
            ]),
        `--output=${path}`,
      ],
      { cwd: this.directory },
    );
    return path;
  }

  /** A disk with an EFI system partition that starts this UKI. */
  async bootDisk(uki: string): Promise<string> {
    const path = `${uki}.img`;
    const size = 96;
    await using handle = await open(path, "w");
    await handle.truncate((size + 2) * mebibyte);
    const esp = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
    await run("sfdisk", ["--quiet", path], {
      stdin: `label: gpt\nstart=1MiB, size=${size}MiB, type=${esp}\n`,
    });
    const target = `${path}@@1M`;
    await run("mformat", ["-i", target, "-F", "-T", String((size * mebibyte) / 512), "::"]);
    await run("mmd", ["-i", target, "::/EFI", "::/EFI/BOOT"]);
    await run("mcopy", ["-i", target, uki, "::/EFI/BOOT/BOOTX64.EFI"]);
    return path;
  }

  /** A firmware with the keyset's keys and Secure Boot on, fresh from the factory. */
  async variables(name: string): Promise<string> {
    const output = this.path(name);
    const input = this.path("OVMF_VARS.fd");
    await copyFile(join(this.image.toolsRoot, "usr/share/OVMF/OVMF_VARS_4M.fd"), input);
    const keys = await readFirmwareKeys(this.keysets, "demo");
    await makeVariables({ keys, withManifestCa: true, input, output });
    return output;
  }

  /** An empty file system for state. */
  async stateDisk(name: string): Promise<string> {
    const path = this.path(name);
    await run("mke2fs", ["-q", "-t", "ext4", "-L", "mos-state", path, "4G"]);
    return path;
  }

  /** A new TPM, as it leaves its own factory. */
  async tpm(name: string): Promise<string> {
    const path = this.path(name);
    await mkdir(path);
    return path;
  }

  /** A machine that is switched off. */
  async machine(parts: Parts): Promise<Machine> {
    return await createQemu({
      toolsRoot: this.image.toolsRoot,
      variables: parts.variables,
      disks: [
        { path: parts.bootDisk, readOnly: false },
        { path: parts.rootDisk ?? this.image.rootDisk, readOnly: true },
        { path: parts.stateDisk, readOnly: false },
      ],
      ...(parts.tpmState === undefined ? {} : { tpmState: parts.tpmState }),
    });
  }

  /** The same firmware with one more certificate in db: somebody has been in its setup. */
  async variablesWithAnotherKey(name: string): Promise<string> {
    const output = this.path(name);
    const input = await this.variables(`${name}.before`);
    const key = this.path("keys/other");
    const guid = (await readFile(join(key, "uefi-db/guid"), "utf8")).trim();
    await run(
      "virt-fw-vars",
      ["--input", input, "--output", output, "--add-db", guid, join(key, "uefi-db/cert.pem")],
      {
        cwd: this.directory,
      },
    );
    return output;
  }

  /**
   * Starts a machine that must not start, and waits until its console shows why.
   * @param timeoutMs three times what it takes where every instruction is emulated
   * @returns the console's text
   */
  async refusal(name: string, parts: Parts, why: RegExp, timeoutMs = 180_000): Promise<string> {
    return await this.refusalOf(name, await this.machine(parts), why, timeoutMs);
  }

  /** The same for a machine that is there; it is disposed of. */
  async refusalOf(name: string, machine: Machine, why: RegExp, timeoutMs: number): Promise<string> {
    const starting = machine.start().then(
      () => "started",
      () => "ended",
    );
    let state: string | undefined;
    void starting.then((how) => {
      state = how;
    });
    try {
      const end = performance.now() + timeoutMs;
      while (!why.test(machine.console())) {
        if (state === "started") throw new Error(`the machine started:\n${machine.console().slice(-3000)}`);
        // What the console showed at the very end is looked at once more.
        if ((state === "ended" && !why.test(machine.console())) || performance.now() > end) {
          throw new Error(`the console does not show ${why}:\n${machine.console().slice(-3000)}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return machine.console();
    } finally {
      await this.retire(name, machine);
      await starting;
    }
  }

  /** Ends a machine and keeps its console for whoever looks at a failure. */
  async retire(name: string, machine: Machine): Promise<void> {
    await writeFile(join(cacheDirectory, "logs", `console-secure-${name}.log`), machine.console());
    await machine.dispose();
  }

  async dispose(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
