// The walkthrough of examples/autosd, every block of its README as it stands there: on this machine what is built, in a
// guest what a device does. The guest's root gets what the example's image.yaml puts into a root.
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseImageDescription } from "../../src/image/description.ts";
import { run } from "../../src/system/process.ts";
import { guestInitrd } from "../../tools/guest-initrd.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { checkout } from "../../tools/stamp.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { makeImage } from "../oci-image.ts";
import { StagedMachine } from "./initrd-fixture.ts";

const example = join(checkout, "examples/autosd");
const onDevice = "/root/bundles";

let work: string;
let staged: StagedMachine;
/** Blocks of the README by their heading comment. */
let blocks: ReadonlyMap<string, string>;

async function readBlocks(): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(join(example, "README.md"), "utf8");
  const found = text.matchAll(/<!-- ([a-z0-9: ]+) -->\n\n```sh\n([\s\S]*?)```/g);
  return new Map([...found].map(([, name = "", script = ""]) => [name, script]));
}

const block = (name: string): string => blocks.get(name) ?? expect.fail(`the README has no block ${name}`);

/** Runs a block where apps are made, and brings the bundles to the device. */
async function build(name: string): Promise<void> {
  await run("bash", ["-euo", "pipefail", "-c", block(`build: ${name}`)], {
    cwd: work,
    env: { PATH: `${join(work, "bin")}:${process.env["PATH"] ?? ""}` },
    timeoutMs: 120_000,
  });
  for (const file of await readdir(work)) {
    if (!/\.tar\.gz(\.sig)?$/.test(file)) continue;
    await staged.machine.putFile(join(onDevice, file), await readFile(join(work, file)));
  }
}

/** Runs a block on the device. @returns all that it says */
async function device(name: string): Promise<string> {
  const script = `cd ${onDevice}\nexec 2>&1\n${block(`device: ${name}`)}`;
  const { stdout } = await staged.machine.exec(script, { timeoutMs: 300_000 });
  return stdout;
}

/** What image.yaml puts into the root. */
async function putFiles(): Promise<void> {
  const path = join(example, "image.yaml");
  const { root } = parseImageDescription(await readFile(path, "utf8"), path);
  for (const file of root.files) {
    if ("source" in file && file.source !== undefined) {
      const given = file.source === "apps.pem" ? join(work, file.source) : resolve(example, file.source);
      await staged.machine.putFile(file.path, await readFile(given));
    } else if ("link" in file && file.link !== undefined) {
      await staged.machine.exec(["mkdir", "-p", dirname(file.path)]);
      await staged.machine.exec(["ln", "-s", file.link, file.path]);
    }
  }
  await staged.machine.exec(["mkdir", "-p", onDevice]);
}

beforeAll(async () => {
  blocks = await readBlocks();
  work = await mkdtemp(join(tmpdir(), "mos-autosd-"));
  await cp(join(example, "radio"), join(work, "radio"), { recursive: true });
  await mkdir(join(work, "bin"));
  const { executable } = await buildUnderTest();
  for (const name of ["mos", "mosb"]) await symlink(executable, join(work, "bin", name));
  // In place of podman build: the same program, in a root of Debian's busybox.
  await cp(await busyboxRoot(), join(work, "rootfs"), { recursive: true, verbatimSymlinks: true });
  await copyFile(join(example, "container/serve"), join(work, "rootfs/bin/serve"));
  await writeFile(join(work, "rootfs/www/index.html"), "app a\n");
  await makeImage(join(work, "radio-image"), join(work, "rootfs"), ["/bin/serve"]);
  staged = await StagedMachine.boot("autosd", {
    initrd: await guestInitrd(),
    disks: [],
    kernelArguments: [],
  });
  await staged.machine.booted();
  await build("keys");
  await putFiles();
}, 900_000);

afterAll(async () => {
  await staged?.[Symbol.asyncDispose]();
  if (work !== undefined) await rm(work, { recursive: true, force: true });
});

/** Where systemd has read the unit's file from, and whether it was told to read them anew in this boot. */
async function activation(): Promise<{
  readonly fragment: string;
  readonly reloads: string;
  readonly files: string;
}> {
  const { stdout } = await staged.machine.exec(`
systemctl show -P FragmentPath radio.service
journalctl -b -o cat SYSLOG_IDENTIFIER=systemd | grep -E '^Reload(ing)? requested' | grep -v initrd-parse-etc || true`);
  const [fragment = "", ...reloads] = stdout.split("\n");
  const files = await staged.machine.exec(["bash", "-c", "cat /run/mos/initrd-files.json || true"]);
  return { fragment, reloads: reloads.join("\n").trim(), files: files.stdout };
}

describe("the walkthrough of AutoSD's demo", () => {
  it("installs a signed app, which runs without anybody having told systemd", async () => {
    await build("app 1");
    const said = await device("install");
    expect(said).toContain("Installed, and running.");
    expect(said).toMatch(/radio +1\.0 +1 +active/);
    expect(said.trimEnd().split("\n").slice(-2)).toEqual(["active", "radio 1"]);
  });

  it("refuses what was altered or is not signed", async () => {
    const said = await device("refused");
    expect(said.match(/refused: 4/g)).toHaveLength(2);
    expect(said).toContain("signed-file-invalid");
    expect(said).toContain("signed-file-unsigned");
  });

  it("goes to the next version when the unit is restarted, and to none that is older", async () => {
    await build("app 2");
    expect(await device("update")).toContain("radio 2");
    const said = await device("older");
    expect(said).toContain("set-older");
    expect(said).toContain("refused: 4");
  });

  it("goes back by itself from a version that does not run, and says why", async () => {
    await build("app 3");
    const said = await device("broken");
    expect(said).toContain("radio.service");
    expect(said).toContain("set-unhealthy");
    expect(said).toContain("not healthy: 8");
    expect(said).toMatch(/radio +2\.0 +2 +active +1\.0/);
    expect(said).toContain("radio 2");
  });

  it("goes back when it is asked to", async () => {
    expect(await device("rollback")).toContain("radio 1");
    const { stdout } = await staged.machine.exec(["podman", "images", "--quiet", "localhost/mos-app"]);
    expect(stdout.trim().split("\n")).toHaveLength(1);
  });

  it("runs after a power cut from the first transaction on, its files verified in the initrd", async () => {
    await staged.machine.powerCut();
    await staged.machine.start();
    await staged.machine.booted();
    expect(await device("after the restart")).toContain("radio 1");
    const { fragment, reloads, files } = await activation();
    expect(fragment).toBe("/run/systemd/generator/radio.service");
    expect(reloads).toBe("");
    expect(JSON.parse(files)).toMatchObject({
      apps: ["radio"],
      configs: [{ outcome: "no-source" }],
      problems: [],
    });
  });

  it("takes archives that were made for containers/validator", async () => {
    await build("archive");
    const said = await device("archive");
    expect(said).toContain("Installed, and running.");
    expect(said).toMatch(/a +6 +6 +active/);
    expect(said.trimEnd().split("\n").at(-1)).toBe("app a");
  });

  it("runs where the initrd does nothing, by the service before basic.target", async () => {
    await staged.reboot({ kernelArguments: ["mos.initrd=no"] });
    expect(await device("after the restart")).toContain("radio 1");
    const { reloads, files } = await activation();
    expect(reloads).toContain("mos-sets.service");
    expect(files).toBe("");
  });

  it("takes an app away with its image", async () => {
    expect(await device("remove")).not.toContain("radio  ");
    const left = await staged.machine.exec(`
ls -d /run/containers/systemd/radio /var/lib/mos/apps/radio 2>/dev/null || true
podman images --quiet localhost/mos-app
systemctl is-active radio.service || true`);
    expect(left.stdout.trim()).toBe("inactive");
  });
});
