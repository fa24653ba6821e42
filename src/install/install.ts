// Installs the system that runs, from a medium that mosb image build made, onto a disk of this machine. What it may
// do is on the kernel's command line, which is signed with the rest of the kernel image.
import { mkdir, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import {
  encryptionMark,
  installArguments,
  installerPartitions,
  rootPartitionUuids,
} from "../image/disk-layout.ts";
import { run } from "../system/process.ts";
import { chooseDisk, type Disk } from "./disks.ts";
import { type Definitions, repartDefinitions } from "./repart.ts";

export interface Installed {
  readonly disk: string;
  readonly rootHash: string;
  /** Subject and fingerprint of the identity that the machine's TPM has now; undefined when that was not asked for. */
  readonly identity?: { readonly subject: string; readonly fingerprint: string };
}

/** No disks: memory, loops, mapped devices, and what cannot be booted from. */
const noDisk = /^(?:loop|ram|zram|sr|fd|dm-|md|nbd|mtdblock)/;
const sectorBytes = 512; // of /sys/block/NAME/size, whatever the disk's own
/** For state, at least; and the table. */
const spareBytes = 80 * 1024 ** 2;
const copyTimeoutMs = 3600_000;
const definitionsDirectory = "/run/mos/install";
const markFile = "/run/mos/install-state";

/** `NAME=VALUE` words of the command line; the last one counts, as for systemd. */
function argument(commandLine: string, name: string): string | undefined {
  return commandLine
    .trim()
    .split(/\s+/)
    .findLast((word) => word.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

async function sysNumber(disk: string, file: string): Promise<number> {
  return Number((await readFile(join("/sys/block", disk, file), "utf8")).trim());
}

/** The disk that a partition is on, as the kernel names it. */
async function diskOf(link: string): Promise<{ readonly disk: string; readonly bytes: number }> {
  try {
    const name = basename(await realpath(link));
    const path = await realpath(join("/sys/class/block", name));
    const bytes = Number((await readFile(join(path, "size"), "utf8")).trim()) * sectorBytes;
    return { disk: basename(dirname(path)), bytes };
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw asMosError(error, link);
    throw new MosError("install-refused", "cannot install: this system was not started from an installer", {
      about: link,
      cause: error,
    });
  }
}

async function inspect(name: string): Promise<Disk> {
  const { stdout } = await run("wipefs", ["--no-act", "--noheadings", "--output", "TYPE", `/dev/${name}`]);
  return {
    name,
    size: (await sysNumber(name, "size")) * sectorBytes,
    isReadOnly: (await sysNumber(name, "ro")) !== 0,
    content: stdout.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()])),
  };
}

/** What the installed system encrypts at its first start. @returns its file */
async function writeMark(): Promise<string> {
  await mkdir(dirname(markFile), { recursive: true });
  // A whole block of whatever size a disk's are.
  const block = Buffer.alloc(1024 ** 2);
  block.write(`${encryptionMark}\n`);
  await writeFile(markFile, block);
  return markFile;
}

async function writeDefinitions(definitions: Definitions): Promise<void> {
  await rm(definitionsDirectory, { recursive: true, force: true });
  await mkdir(definitionsDirectory, { recursive: true });
  for (const [name, text] of definitions) await writeFile(join(definitionsDirectory, name), text);
}

/** What is to be done with the TPM, when the command line says so. */
async function provisioningOf(commandLine: string, wipe: boolean) {
  const source = argument(commandLine, installArguments.provision);
  if (source === undefined) return undefined;
  if (source !== "medium" && source !== "device") {
    throw new MosError("install-refused", `cannot install: there is no identity from "${source}"`);
  }
  const { prepareProvisioning } = await import("./provision-machine.ts");
  return await prepareProvisioning(source, wipe);
}

/**
 * Installs. Nothing is written before it is known that all of it may be.
 * @throws MosError `install-refused`, `program-failed`, `program-missing`, `io-failed`, and of provisioning
 */
export async function install(onStep: (what: string) => void): Promise<Installed> {
  const commandLine = await readFile("/proc/cmdline", "utf8");
  const [target, rootHash] = [
    argument(commandLine, installArguments.disk),
    argument(commandLine, "roothash"),
  ];
  if (target === undefined || rootHash === undefined || !/^[0-9a-f]{64}$/.test(rootHash)) {
    throw new MosError("install-refused", "cannot install: this system was not started from an installer");
  }
  const uuids = rootPartitionUuids(rootHash);
  const sources = await Promise.all([
    diskOf(`/dev/disk/by-partlabel/${installerPartitions.payload.name}`),
    ...[uuids.root, uuids.verity].map((uuid) => diskOf(`/dev/disk/by-partuuid/${uuid}`)),
  ]);
  const own = new Set(sources.map(({ disk }) => disk));
  const names = (await readdir("/sys/block")).filter((name) => !noDisk.test(name) && !own.has(name));
  const disks = await Promise.all(names.sort().map(inspect));
  const swapText = argument(commandLine, installArguments.swap);
  const swap = swapText === undefined ? undefined : Number(swapText);
  const wipe = argument(commandLine, installArguments.wipe) === "yes";
  const size = sources.reduce((sum, { bytes }) => sum + bytes, spareBytes + (swap ?? 0) * 1024 ** 2);
  const name = target === "auto" ? undefined : basename(await realpath(target).catch(() => target));
  const disk = chooseDisk(disks, { name, size, wipe });
  const path = `/dev/${disk.name}`;
  const provisioning = await provisioningOf(commandLine, wipe);
  onStep(`installing onto ${path}`);
  const mark = argument(commandLine, installArguments.encrypt) === "tpm2" ? await writeMark() : undefined;
  await writeDefinitions(repartDefinitions(rootHash, swap, mark));
  await run(
    "systemd-repart",
    [
      ...["--dry-run=no", `--empty=${wipe ? "force" : "require"}`, "--seed=random"],
      ...[`--definitions=${definitionsDirectory}`, "--no-pager", path],
    ],
    { timeoutMs: copyTimeoutMs },
  );
  onStep("writing it out");
  await run("sync", [path], { timeoutMs: copyTimeoutMs });
  if (provisioning === undefined) return { disk: path, rootHash };
  const { subject, fingerprint, provision } = provisioning;
  onStep(`provisioning the TPM for ${subject}`);
  try {
    await provision((what) => onStep(what));
  } catch (error) {
    // Nothing starts from it, and the installer can be started again.
    await run("wipefs", ["--all", "--force", path]);
    throw error;
  }
  return { disk: path, rootHash, identity: { subject, fingerprint } };
}
