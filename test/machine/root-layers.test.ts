// Boots whose root comes out of the device's store in several layers: what they are together, and what becomes of a boot
// when one of them is not what was signed, or not there.
import { mkdtemp, rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { storedRootCommandLine } from "../../src/boot/command-line.ts";
import { guestInitrd } from "../../tools/guest-initrd.ts";
import { StagedMachine } from "./initrd-fixture.ts";
import {
  bootStored,
  flipped,
  makeRootLayers,
  makeState,
  makeSystemLayers,
  type RootFile,
  type StoredBoot,
} from "./stored-root.ts";

let work: string;
let initrd: string;
let lower: RootFile;
let upper: RootFile;
beforeAll(async () => {
  work = await mkdtemp("/var/tmp/mos-root-layers-");
  initrd = await guestInitrd({ withStore: true });
  ({ lower, upper } = await makeRootLayers(work));
}, 600_000);
afterAll(async () => {
  await rm(work, { recursive: true, force: true });
});

const boot = (name: string, how: StoredBoot): Promise<string> => bootStored(work, initrd, name, how);

/** What the init of the root has said, line by line. */
const said = (console: string): string[] =>
  [...console.matchAll(/^root: (.*?)\r?$/gm)].flatMap(([, line]) => line ?? []);

/** The boot ended in the initrd, because of this layer: nothing of the root ran, and nobody got a shell. */
function expectRefused(console: string, layer: RootFile): void {
  expect(console).toContain("the guest's machine ended while booting");
  expect(console).toMatch(new RegExp(`mos: cannot open the root: .*${layer.digest}`));
  expect(said(console)).toEqual([]);
}

describe("a root out of the store", () => {
  it("of one layer starts as it always did", async () => {
    const lines = said(await boot("one", { stored: [lower] }));
    expect(lines).toContain("lower=lower upper=none changed=before gone=still there");
    expect(lines).toContain("emptied=2");
    expect(lines).toContain("written=yes");
  }, 120_000);

  it("of two layers is both of them: what is over the other counts, what is gone there is gone", async () => {
    const console = await boot("two", { stored: [lower, upper] });
    const lines = said(console);
    expect(lines).toContain("lower=lower upper=upper changed=after gone=none");
    expect(lines).toContain("emptied=0");
    expect(lines).toContain("written=yes");
    // One overlay of all of it, which can be written to in memory: none above another.
    const mounts = lines.filter((line) => line.includes(" overlay "));
    expect(mounts).toHaveLength(1);
    expect(mounts[0]).toContain("lowerdir=/run/mos-hostfs-layers/1:/sysroot,upperdir=");
  }, 120_000);

  it("of three layers has the third over the second", async () => {
    const console = await boot("three", { stored: [lower, upper, lower] });
    expect(said(console)).toContain("lower=lower upper=upper changed=before gone=still there");
  }, 120_000);

  it("of two layers cannot be written to where the command line does not say so", async () => {
    const console = await boot("read-only", { stored: [lower, upper], words: ["systemd.volatile=no"] });
    expect(said(console)).toContain("lower=lower upper=upper changed=after gone=none");
    expect(said(console)).toContain("written=none");
  }, 120_000);
});

describe("a whole system of two layers", () => {
  let system: StagedMachine;
  let layers: readonly RootFile[];
  beforeAll(async () => {
    layers = await makeSystemLayers(work);
    const image = `${work}/system.img`;
    await makeState(image, layers, "1G");
    const kernelArguments = storedRootCommandLine(layers).split(" ");
    system = await StagedMachine.boot("stored-system", { initrd, disks: [image], kernelArguments });
  }, 600_000);
  afterAll(() => system?.[Symbol.asyncDispose]());

  it("comes up, with programs of one layer, mos of the other, and what is gone gone", async () => {
    await system.machine.booted();
    const { stdout } = await system.machine.exec(
      "systemctl --failed --plain --no-legend; test ! -e /usr/share/locale; findmnt -n -o FSTYPE,OPTIONS /; findmnt -n -o SOURCE /var",
    );
    const [root = "", state, ...more] = stdout.trim().split("\n");
    expect(root).toMatch(/^overlay .*lowerdir=\/run\/mos-hostfs-layers\/1:\/sysroot,/);
    expect([state, more]).toEqual(["/dev/ubdb", []]);
  }, 240_000);

  it("says which layers its root has", async () => {
    const [lowest] = layers;
    expect((await system.status()).system).toEqual({
      ...{ rootHash: lowest?.rootHash, hostfs: lowest?.digest },
      layers: layers.map(({ digest, rootHash }) => ({ digest, rootHash })),
    });
  }, 120_000);

  it("can have one more overlay above its root, as systemd-sysext makes it", async () => {
    const script =
      "mkdir /run/one && mount -t overlay -o lowerdir=/usr:/etc overlay /run/one && test -e /run/one/bin/mosctl && umount /run/one";
    await system.machine.exec(script);
  }, 120_000);

  it("changes its root in memory only", async () => {
    await system.machine.exec("touch /etc/changed");
    await system.reboot();
    await system.machine.exec("test ! -e /etc/changed");
  }, 240_000);
});

describe("a boot ends where a layer of its root", () => {
  it.each([
    ["lower", "superblock", () => [flipped(lower, 8), upper]],
    ["upper", "superblock", () => [lower, flipped(upper, 1024 + 8)]],
    // The block behind the hash tree's superblock is its top.
    ["lower", "hash tree", () => [flipped(lower, lower.hashOffset + 4096), upper]],
    ["upper", "hash tree", () => [lower, flipped(upper, upper.hashOffset + 4096)]],
  ] as const)(
    "has one other byte: the %s one, in its %s",
    async (which, where, layers) => {
      const stored = await Promise.all(layers());
      const console = await boot(`${which}-${where.replace(" ", "-")}`, { stored, named: [lower, upper] });
      expectRefused(console, which === "lower" ? lower : upper);
    },
    120_000,
  );

  it.each([
    ["upper", () => lower, () => upper],
    ["lower", () => upper, () => lower],
  ] as const)(
    "is missing: the %s one",
    async (name, stored, missing) => {
      const console = await boot(`missing-${name}`, { stored: [stored()], named: [lower, upper] });
      expectRefused(console, missing());
      expect(console).toContain(`the layer ${missing().digest} is not in the store`);
    },
    120_000,
  );

  it("has another root hash than the command line says", async () => {
    const named = [lower, { ...upper, rootHash: lower.rootHash }];
    expectRefused(await boot("other-hash", { stored: [lower, upper], named }), upper);
  }, 120_000);

  it("is of a kind that is none", async () => {
    const words = [`mos.hostfs-layer=${upper.digest},4096,${upper.rootHash},ext4`];
    expectRefused(await boot("other-kind", { stored: [lower, upper], words }), upper);
  }, 120_000);
});
