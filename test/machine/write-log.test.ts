// F03, and whether the recordings of test/crash are faithful: a real device is updated on a real ext4, whose disk
// dm-log-writes watches. Cut off after any write, the disk must hold what test/crash says that it may: the agent
// starts from it with exactly the old generation or the new.
import { copyFile, cp, mkdir, mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Digest } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { bootAndCheck, newDevice } from "../crash/device.ts";
import { randomFrom } from "../crash/outcomes.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";
import { readWriteLog, replay } from "./write-log.ts";

const seed = Number(process.env["MOS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
/** Cuts that are tried, beside the last. */
const cuts = 60;

let directory: string;
let caPem: string;
/** Digests of the two manifests that were applied one after the other. */
const applied: Digest[] = [];
const file = (name: string): string => join(directory, name);

async function makeDisk(name: string, bytes: number): Promise<void> {
  await using handle = await open(file(name), "wx");
  await handle.truncate(bytes);
}

async function publish(publisher: Publisher, tag: string): Promise<string> {
  const root = join(publisher.directory, `root-${tag}`);
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(root, "www/index.html"), tag);
  const target = `{service_name: files, source: "rootfs:${root}", service_type: fs-only, version: "${tag}"}`;
  return await publisher.publish(
    `version: 1\nproduct: test\nhealth: {timeout: 60s, settle: 0s}\ntargets:\n  - ${target}\n`,
    tag,
  );
}

beforeAll(async () => {
  // On disk, not in memory.
  directory = await mkdtemp("/var/tmp/mos-write-log-");
  await makeDisk("disk.img", 96 * 1024 * 1024);
  await makeDisk("log.img", 512 * 1024 * 1024);
  await run("mkfs.ext4", ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file("disk.img")]);
  await copyFile(file("disk.img"), file("before.img"));
  await using device = await bootDevice("write-log", { disks: [file("disk.img"), file("log.img")] });
  const { machine, network } = device;
  await using publisher = await Publisher.create(network, join(import.meta.dirname, "../../dist/mos"));
  await publisher.makeKeys();
  caPem = Buffer.from(await publisher.manifestCa()).toString();
  await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa());
  await machine.exec(`
    modprobe dm-log-writes
    dmsetup create logged --table "0 $(blockdev --getsz /dev/ubdb) log-writes /dev/ubdb /dev/ubdc"
    mount -o nodiscard /dev/mapper/logged /var/lib/mos
  `);
  for (const tag of ["1", "2"]) {
    const { stdout } = await machine.exec(["mosctl", "update", await publish(publisher, tag), "--json"], {
      timeoutMs: 300_000,
    });
    const { manifestDigest }: { manifestDigest: Digest } = JSON.parse(stdout);
    applied.push(manifestDigest);
    await machine.exec(["dmsetup", "message", "logged", "0", "mark", tag]);
  }
  await machine.exec("sync -f /var/lib/mos");
  await machine.powerCut();
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** What is in the file system of an image, after its journal was replayed as a mount does it. */
async function unpack(image: string, into: string): Promise<void> {
  await run("e2fsck", ["-p", "-E", "journal_only", image], { accept: [0, 1] });
  await mkdir(into);
  await run("debugfs", ["-R", `rdump / ${into}`, image]);
  await rm(join(into, "lost+found"), { recursive: true, force: true });
}

it(`boots from what a real ext4 holds after ${cuts} cuts and more`, async () => {
  const log = await readWriteLog(file("log.img"));
  const marks = log.flatMap(({ mark }, at) => (mark === "1" || mark === "2" ? [at] : []));
  const [first = 0, second = 0] = marks;
  expect(marks).toHaveLength(2);
  const flushes = log.filter(({ isFlush }) => isFlush).length;
  const random = randomFrom(seed);
  const wanted = new Set([first, second]);
  while (wanted.size < cuts + 2) wanted.add(Math.floor(random() * second));
  const found = new Map<string, number>();
  await using source = await open(file("log.img"));
  await copyFile(file("before.img"), file("now.img"));
  for (const [at, entry] of log.entries()) {
    {
      await using now = await open(file("now.img"), "r+");
      await replay(source, now, entry);
    }
    if (!wanted.has(at)) continue;
    const survivor = newDevice(file(`device-${at}`), caPem);
    await rm(survivor.places.state, { recursive: true });
    await copyFile(file("now.img"), file("cut.img"));
    await unpack(file("cut.img"), survivor.places.state);
    const [one, two] = applied;
    const current = at >= second ? [two] : at >= first ? [one, two] : [undefined, one];
    try {
      const runs = await bootAndCheck(survivor, { current, idmaps: new Map() }, true);
      found.set(runs ?? "nothing", (found.get(runs ?? "nothing") ?? 0) + 1);
    } catch (error) {
      const left = await readdir(survivor.places.state, { recursive: true });
      throw new Error(`seed ${seed}, cut after write ${at} of ${log.length}, with ${left.join(" ")}`, {
        cause: error,
      });
    }
    await rm(file(`device-${at}`), { recursive: true });
  }
  process.stdout.write(
    `seed ${seed}: ${log.length} writes, ${flushes} flushes, ${wanted.size} cuts: ${JSON.stringify([...found.values()])}\n`,
  );
  expect([...found.keys()].sort()).toEqual(["nothing", ...applied].sort());
});
