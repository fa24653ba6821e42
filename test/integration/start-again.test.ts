// What a device does by itself when a system does not start, or its agent does not run: the scripts that decide, on
// files that stand for the firmware's variables. The real thing is in test/secure/update.test.ts.
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";

const checkout = join(import.meta.dirname, "../..");
/** Of systemd's boot loader interface. */
const loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/** Attributes, and texts in UTF-16 with a zero behind each, as efivarfs shows a variable. */
function variable(attributes: number, texts: readonly string[]): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(attributes);
  return Buffer.concat([head, Buffer.from(texts.map((text) => `${text}\0`).join(""), "utf16le")]);
}

/** What came of it. */
interface Ending {
  /** What was written to /proc/sysrq-trigger: "b" starts the machine anew. */
  readonly sysrq: string;
  readonly said: string;
  /** Names of the loader's variables afterwards, and the bytes of the one for a single start. */
  readonly variables: readonly string[];
  readonly oneShot: Buffer | undefined;
}

/** Commands that would do something to this machine are files that take down how they were called. */
async function isolated(directory: string): Promise<string> {
  const programs = join(directory, "bin");
  await mkdir(programs);
  const script = `#!/bin/sh\necho "$0 $*" >> ${join(directory, "called")}\n`;
  for (const name of ["systemctl", "sync"]) await writeFile(join(programs, name), script, { mode: 0o755 });
  return programs;
}

/** The scripts by the names that they have in an initrd. */
async function installScripts(directory: string): Promise<string> {
  const programs = join(directory, "mos");
  await mkdir(programs);
  for (const name of ["mos-loader", "mos-refused", "mos-starts"])
    await copyFile(join(checkout, "initrd-hooks/dracut/60mos", `${name}.sh`), join(programs, name));
  return programs;
}

/** The firmware's variables with these texts, at the place that the scripts look at once `efi` is mounted. */
async function placeVariables(
  directory: string,
  variables: Readonly<Record<string, readonly string[]>>,
): Promise<string> {
  const efi = join(directory, "efi/efi/efivars");
  await mkdir(efi, { recursive: true });
  for (const [name, texts] of Object.entries(variables)) {
    // BOOTSERVICE_ACCESS and RUNTIME_ACCESS.
    await writeFile(join(efi, `${name}-${loader}`), variable(6, texts));
  }
  return efi;
}

/** Runs the script as mos-refused.service does, where the loader has left these variables and the stage these files. */
async function refused(
  variables: Readonly<Record<string, readonly string[]>>,
  left: Readonly<Record<string, string>> = {},
): Promise<Ending> {
  const directory = await temporaryDirectory();
  const efi = await placeVariables(directory, variables);
  await mkdir(join(directory, "run/mos"), { recursive: true });
  for (const [name, text] of Object.entries(left)) await writeFile(join(directory, "run/mos", name), text);
  await mkdir(join(directory, "proc"));
  const sysrq = join(directory, "proc/sysrq-trigger");
  await writeFile(sysrq, "");
  const script = `
    mount --bind "$0/efi" /sys/firmware
    mount --bind "$0/run" /run
    mount --bind "$0/proc" /proc
    [ ! -e /proc/version ]
    PATH=$0/bin:$PATH sh "$1/mos-refused"`;
  await isolated(directory);
  const programs = await installScripts(directory);
  const { stdout } = await run("unshare", ["--mount", "sh", "-ec", script, directory, programs]);
  const oneShot = `LoaderEntryOneShot-${loader}`;
  const names = await readdir(efi);
  return {
    sysrq: (await readFile(sysrq, "utf8")).trim(),
    said: stdout.trim(),
    variables: names.map((name) => name.slice(0, -loader.length - 1)).sort(),
    oneShot: names.includes(oneShot) ? await readFile(join(efi, oneShot)) : undefined,
  };
}

describe.skipIf(process.getuid?.() !== 0)("a system that does not start", () => {
  const entries = ["demo_1.1.efi", "demo_1.0.efi", "auto-reboot-to-firmware-setup"];

  it("is tried again while the loader counts", async () => {
    const counted = { LoaderBootCountPath: ["\\EFI\\Linux\\demo_1.2+1-2.efi"] };
    const ending = await refused({
      ...counted,
      LoaderEntrySelected: ["demo_1.2.efi"],
      LoaderEntries: entries,
    });
    expect(ending).toMatchObject({ sysrq: "b", oneShot: undefined });
    expect(ending.said).toContain("is on trial");
  });

  it("is given up when it is the last resort, and was tried ten times", async () => {
    const ending = await refused({ LoaderBootCountPath: ["\\EFI\\Linux\\demo_1.2+0-10.efi"] });
    expect(ending).toMatchObject({ sysrq: "", oneShot: undefined });
  });

  it("gives way to the one behind it, once", async () => {
    const ending = await refused({ LoaderEntrySelected: ["demo_1.1.efi"], LoaderEntries: entries });
    expect(ending.sysrq).toBe("b");
    expect(ending.said).toBe("mos: this system did not start: starting demo_1.0.efi instead");
    // NON_VOLATILE besides.
    expect(ending.oneShot).toEqual(variable(7, ["demo_1.0.efi"]));
  });

  it.each([
    ["it is the last", ["demo_1.0.efi"], entries],
    ["it is the only one", ["demo_1.1.efi"], ["demo_1.1.efi", "auto-reboot-to-firmware-setup"]],
    ["what is behind it is another system's", ["demo_1.1.efi"], ["demo_1.1.efi", "other_1.0.efi", "demo_x"]],
    ["the loader has started something that it does not list", ["demo_0.9.efi"], entries],
    ["names are not what mos gives", ["demo_1.1.efi"], ["demo_1.1.efi", "demo_$(reboot).efi", "demo_é.efi"]],
    ["the loader says nothing of what it has started", [], entries],
    ["the loader says nothing of what it has", ["demo_1.1.efi"], []],
  ])("ends the boot where %s", async (_, selected, listed) => {
    const ending = await refused({ LoaderEntrySelected: selected, LoaderEntries: listed });
    expect(ending).toMatchObject({ sysrq: "", said: "", oneShot: undefined });
  });

  it.each([
    ["the policy does not let it boot on", { "initrd-stage.json": '{"version":1,"bootsOn":false}' }, ""],
    ["the policy wants all signed files", { "files-stop": "", "boot-on": "" }, ""],
    ["it was not the policy", { "initrd-stage.json": '{"version":1,"bootsOn":true}' }, "b"],
  ])("powers off for the policy's sake only: %s", async (_, left, sysrq) => {
    const variables = { LoaderEntrySelected: ["demo_1.1.efi"], LoaderEntries: entries };
    expect((await refused(variables, left)).sysrq).toBe(sysrq);
  });

  it("ends the boot where no loader has left anything", async () => {
    expect(await refused({})).toEqual({ sysrq: "", said: "", variables: [], oneShot: undefined });
  });

  it("passes over what it does not know, and takes names with all letters that mos gives", async () => {
    const listed = ["demo_2.0~rc1^a.efi", "windows.conf", "demo_1.0~0a1b2c3d+3.efi"];
    const { oneShot } = await refused({ LoaderEntrySelected: [listed[0] ?? ""], LoaderEntries: listed });
    expect(oneShot).toEqual(variable(7, [listed[2] ?? ""]));
  });
});

describe.skipIf(process.getuid?.() !== 0)("a good system that does not come up", () => {
  const LoaderEntries = ["demo_1.1.efi", "demo_1.0.efi"];
  const good = { LoaderEntrySelected: ["demo_1.1.efi"], LoaderEntries };
  const starts = "sysroot/var/lib/mos/starts";

  /** Leaves the initrd this often, until that is not gone on with. @returns how often it was */
  async function leaves(
    directory: string,
    times: number,
    variables: Readonly<Record<string, readonly string[]>> = good,
  ): Promise<number> {
    const tools = join(directory, `tools-${await readdir(directory).then(({ length }) => length)}`);
    await mkdir(tools);
    await placeVariables(tools, variables);
    const programs = await installScripts(tools);
    const script = 'mount --bind "$0/efi" /sys/firmware; sh "$1/mos-starts" "$2"';
    for (let i = 0; i < times; i++) {
      const args = ["--mount", "sh", "-ec", script, tools, programs, join(directory, "sysroot")];
      if ((await run("unshare", args, { accept: [0, 1] })).exitCode !== 0) return i;
    }
    return times;
  }

  async function device(): Promise<string> {
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "sysroot/var/lib/mos"), { recursive: true });
    return directory;
  }

  it("is not gone on with at its sixth start, and tried as often again when it is its turn", async () => {
    const directory = await device();
    expect(await leaves(directory, 20)).toBe(5);
    expect(await leaves(directory, 20)).toBe(5);
  });

  it("counts anew once its agent has been there, or another one was started", async () => {
    const directory = await device();
    expect(await leaves(directory, 4)).toBe(4);
    await rm(join(directory, starts));
    expect(await leaves(directory, 4)).toBe(4);
    // The last of three, so that there is one behind it.
    const other = {
      LoaderEntrySelected: ["demo_1.0.efi"],
      LoaderEntries: [...LoaderEntries, "demo_0.9.efi"],
    };
    expect(await leaves(directory, 1, other)).toBe(1);
    expect(await leaves(directory, 20)).toBe(5);
  });

  it.each([
    ["there is none behind it", { ...good, LoaderEntrySelected: ["demo_1.0.efi"] }],
    ["it is on trial", { ...good, LoaderBootCountPath: ["\\EFI\\Linux\\demo_1.1+2-1.efi"] }],
    ["no loader has left anything", {}],
  ])("is gone on with where %s", async (_, variables) => {
    const directory = await device();
    expect(await leaves(directory, 8, variables)).toBe(8);
    expect(existsSync(join(directory, starts))).toBe(false);
  });

  it.each([
    ["the file", starts],
    ["its directory", "sysroot/var/lib/mos"],
    ["one above", "sysroot/var/lib"],
  ])("is gone on with, and nothing written elsewhere, where %s is a symlink", async (_, path) => {
    const directory = await device();
    await mkdir(join(directory, "elsewhere/mos"), { recursive: true });
    await writeFile(join(directory, "elsewhere/file"), "as it was");
    await rm(join(directory, path), { recursive: true, force: true });
    await symlink(join(directory, path === starts ? "elsewhere/file" : "elsewhere"), join(directory, path));
    expect(await leaves(directory, 8)).toBe(8);
    expect(await readFile(join(directory, "elsewhere/file"), "utf8")).toBe("as it was");
    expect((await readdir(join(directory, "elsewhere"), { recursive: true })).sort()).toEqual([
      "file",
      "mos",
    ]);
  });

  it("is gone on with where it cannot be counted", async () => {
    const directory = await device();
    await mkdir(join(directory, starts));
    expect(await leaves(directory, 8)).toBe(8);
    await rm(join(directory, "sysroot/var"), { recursive: true });
    expect(await leaves(directory, 8)).toBe(8);
  });
});

describe.skipIf(process.getuid?.() !== 0)("an agent that ends", () => {
  /** How systemd was called when the agent has ended with these results, one after the other. */
  async function calls(results: readonly string[], isTrial: boolean): Promise<string> {
    const directory = await temporaryDirectory();
    const programs = await isolated(directory);
    await mkdir(join(directory, "run/mos"), { recursive: true });
    if (isTrial) await writeFile(join(directory, "run/mos/boot-trial"), "");
    await writeFile(join(directory, "called"), "");
    const script =
      'mount --bind "$0/run" /run; PATH=$0/bin:$PATH; for result in $2; do SERVICE_RESULT=$result sh "$1"; done';
    const program = join(checkout, "packaging/boot/agent-ended");
    await run("unshare", ["--mount", "sh", "-ec", script, directory, program, results.join(" ")]);
    return (await readFile(join(directory, "called"), "utf8")).replaceAll(`${programs}/`, "").trim();
  }
  const starts = "systemctl --no-block start mos-trial.service";

  it("for the third time in a system on trial has the device started anew", async () => {
    expect(await calls(["exit-code", "timeout"], true)).toBe("");
    expect(await calls(["exit-code", "success", "timeout", "success"], true)).toBe("");
    expect(await calls(["exit-code", "success", "timeout", "signal"], true)).toBe(starts);
  });

  it("changes nothing in a system that is good", async () => {
    expect(await calls(["exit-code", "exit-code", "exit-code", "watchdog"], false)).toBe("");
  });
});
