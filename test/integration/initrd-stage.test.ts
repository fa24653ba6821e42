// The initrd stage and what it leaves to the service stage, on a device in a directory; and the scripts that decide
// without it. The real thing boots in test/machine/initrd.test.ts.
import { mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { boot } from "../../src/agent/boot.ts";
import { moveCurrent } from "../../src/agent/commit.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { rememberServiceStage } from "../../src/agent/handover.ts";
import { initrdStage } from "../../src/agent/initrd-stage.ts";
import { writeInitrdRecord } from "../../src/agent/stage-record.ts";
import { status } from "../../src/agent/status.ts";
import { readJournal, writeJournal } from "../../src/generation/journal.ts";
import { run } from "../../src/system/process.ts";
import { memoryManager } from "../memory-manager.ts";
import { temporaryDirectory } from "../support.ts";
import { updateEnding } from "./device-fixture.ts";
import {
  goodParts,
  type Image,
  installManifest,
  published,
  runningDevice,
  type Signers,
  signedImage,
} from "./refusals-fixture.ts";

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("one"));
});

/** A device with an applied generation, as the next boot finds it: with nothing in /run. */
async function device(): Promise<AgentContext> {
  const updated = await runningDevice(signers, image);
  const run = join(await temporaryDirectory(), "run");
  await mkdir(join(run, "mos"), { recursive: true });
  return {
    ...updated,
    places: { ...updated.places, run: join(run, "mos") },
    unitDirectory: join(run, "systemd"),
    quadletDirectory: join(run, "quadlet"),
    systemd: memoryManager(),
  };
}

const calls = ({ systemd }: AgentContext): unknown => "calls" in systemd && systemd.calls;

/** What mosd does when it starts. */
async function serviceStage(context: AgentContext): Promise<string> {
  const { outcome } = await boot(context);
  rememberServiceStage(context, outcome);
  return outcome.kind;
}

/** What main() of the stage does with its record. */
async function stage(context: AgentContext) {
  const { record } = await initrdStage(context);
  writeInitrdRecord(context.places, record);
  return record;
}

describe("the initrd stage", () => {
  it("writes every unit, links their target into the boot, and asks no service manager", async () => {
    const context = await device();
    expect(await stage(context)).toMatchObject({
      outcome: "applied",
      generation: 1,
      bootsOn: true,
      without: [],
    });
    expect(calls(context)).toEqual([]);
    expect((await readdir(context.quadletDirectory)).join(" ")).toMatch(/^mos-svc-\w+\.container$/);
    const link = join(context.unitDirectory, "multi-user.target.wants/mos.target");
    expect(await readlink(link)).toBe("../mos.target");
    expect(await readFile(link, "utf8")).toContain("Wants=mos-svc-");
  });

  it("leaves nothing to the service stage, which looks again at its next start", async () => {
    const context = await device();
    await stage(context);
    expect(await serviceStage(context)).toBe("nothing-to-do");
    expect(calls(context)).toEqual([]);
    expect((await status(context)).boot).toMatchObject({
      initrd: { outcome: "applied", generation: 1 },
      service: "nothing-to-do",
    });
    expect(await serviceStage(context)).toBe("unchanged");
  });

  it("counts for nothing when the running system has other state than the initrd had", async () => {
    const context = await device();
    const stale = { ...context, places: { ...context.places, state: await temporaryDirectory() } };
    await stage(context);
    expect(await serviceStage(stale)).toBe("no-generation");
    expect(await readdir(join(context.unitDirectory, "multi-user.target.wants"))).toEqual([]);
  });

  it.each([
    ["missing device /dev/mos-state", "no-state", "state-missing"],
    ["found root", "applied", undefined],
  ])("believes the initrd about the state: %s", async (report, outcome, code) => {
    const context = await device();
    await writeFile(join(context.places.run, "initrd-state"), `${report}\n`);
    const record = await stage(context);
    expect([record.outcome, record.state, record.error?.code]).toEqual([outcome, report, code]);
    expect(await serviceStage(context)).toBe(code === undefined ? "nothing-to-do" : "applied");
  });

  it("says that nothing was applied yet, and the service stage looks again", async () => {
    const context = await device();
    const empty = { ...context, places: { ...context.places, state: await temporaryDirectory() } };
    expect((await stage(empty)).outcome).toBe("no-generation");
    expect(await serviceStage(empty)).toBe("no-generation");
  });

  it("writes no unit of a generation that does not verify", async () => {
    const context = await device();
    await writeFile(join(context.places.state, "generations/1/install.json"), "{}");
    expect(await stage(context)).toMatchObject({ outcome: "refused", bootsOn: true });
    expect(await readdir(context.unitDirectory).catch(() => [])).toEqual([]);
    expect(await serviceStage(context)).toBe("refused");
  });

  it("leaves a service whose image is damaged to the service stage, and brings up the others", async () => {
    const context = await device();
    const blobs = join(context.places.state, "oci/blobs/sha256");
    await writeFile(join(blobs, image.config.descriptor.digest.slice("sha256:".length)), "{}");
    expect(await stage(context)).toMatchObject({ outcome: "applied", without: [expect.any(String)] });
    expect(await serviceStage(context)).toBe("unchanged");
  });
});

describe("a generation on trial", () => {
  /** Generation 2 is tried, and may be begun so many times more. */
  async function trying(tries: number): Promise<AgentContext> {
    const context = await device();
    const { reference } = await published(
      goodParts(signers, image, installManifest(image, { product: "after" })),
    );
    expect((await updateEnding(context, reference)).code).toBe("updated");
    await moveCurrent(context.places, 1);
    const startedAt = new Date().toISOString();
    await writeJournal(context.places, {
      ...{ kind: "update", phase: "trial", from: 1, to: 2, tries, excused: [], startedAt },
    });
    const fresh = await temporaryDirectory();
    return {
      ...context,
      places: { ...context.places, run: join(fresh, "mos") },
      unitDirectory: join(fresh, "systemd"),
      quadletDirectory: join(fresh, "quadlet"),
      systemd: memoryManager(),
    };
  }

  it("is begun in the initrd, which counts one try, and watched by the agent, which counts none", async () => {
    const context = await trying(2);
    expect(await stage(context)).toMatchObject({ outcome: "applied", generation: 2 });
    expect(await readJournal(context.places)).toMatchObject({ phase: "trial", tries: 1 });
    const { outcome } = await boot(context);
    expect(outcome).toMatchObject({ kind: "nothing-to-do", trial: { to: 2, tries: 1 } });
    expect(await readJournal(context.places)).toMatchObject({ phase: "trial", tries: 1 });
  });

  it("is given up in the initrd when its tries are used up, and what ran before is part of the boot", async () => {
    const context = await trying(0);
    expect(await stage(context)).toMatchObject({
      outcome: "unhealthy-fallback",
      generation: 1,
      error: { code: "generation-unhealthy" },
    });
    expect(await readJournal(context.places)).toBeUndefined();
    expect(await serviceStage(context)).toBe("nothing-to-do");
    expect((await status(context)).failures).toMatchObject([{ generation: 2 }]);
  });
});

describe("the policy", () => {
  async function withPolicy(text: string, where: "initrd" | "root"): Promise<AgentContext> {
    const context = await device();
    const initrd = join(context.places.run, "initrd");
    await mkdir(initrd, { recursive: true });
    const root = join(context.places.run, "root.json");
    const policies = [join(initrd, "policy.json"), root];
    await writeFile(where === "root" ? root : join(initrd, "policy.json"), text);
    await writeFile(join(context.places.run, "initrd-state"), "missing device /dev/mos-state\n");
    return { ...context, trust: { ...context.trust, policies, initrd } };
  }
  const policy = (bootOn: readonly string[]): string =>
    JSON.stringify({ version: 1, anchors: ["initrd"], bootOn });

  it.each([
    [["applied", "no-state"], true],
    [["applied", "refused"], false],
  ])("lets a device without its state boot on with %s: %s", async (bootOn, bootsOn) => {
    expect(await stage(await withPolicy(policy(bootOn), "initrd"))).toMatchObject({
      outcome: "no-state",
      bootsOn,
    });
  });

  it("that cannot be read lets nothing boot when it came with the initrd, and does not decide when it did not", async () => {
    expect(await stage(await withPolicy("{", "initrd"))).toMatchObject({ bootsOn: false });
    expect(await stage(await withPolicy("{", "root"))).toMatchObject({ bootsOn: true });
  });
});

describe("the gate of the initrd", () => {
  const gate = join(import.meta.dirname, "../../initrd-hooks/dracut/60mos/mos-gate.sh");

  /** Runs it in a mount namespace of its own, where /run has these files. */
  async function ask(
    files: Readonly<Record<string, string>>,
  ): Promise<readonly [exit: number, record: string]> {
    const directory = await temporaryDirectory();
    for (const [name, text] of Object.entries(files)) {
      await mkdir(join(directory, "mos/initrd"), { recursive: true });
      await writeFile(join(directory, "mos", name), text);
    }
    const script =
      'mount --bind "$0" /run && sh "$1"; code=$?; cat /run/mos/initrd-stage.json 2>/dev/null; exit $code';
    const command = ["--mount", "sh", "-c", script, directory, gate];
    const { exitCode, stdout } = await run("unshare", command, { accept: [0, 1] });
    return [exitCode, stdout.trim()];
  }

  it("opens when the stage has said so, and stays closed when it has said otherwise", async () => {
    expect(await ask({ "boot-on": "" })).toEqual([0, ""]);
    expect((await ask({ "initrd-stage.json": "{}" }))[0]).toBe(1);
    expect((await ask({ "boot-on": "", "files-stop": "" }))[0]).toBe(1);
  });

  it("stays closed in a system on trial whose agent does not even run, so that its next try or the one before starts", async () => {
    expect((await ask({ "boot-trial": "" }))[0]).toBe(1);
    expect((await ask({ "boot-trial": "", "boot-on": "" }))[0]).toBe(0);
  });

  it.each([
    ["no policy", undefined, true],
    ["a policy that does not say", '{"version":1,"anchors":["initrd"]}', true],
    ["a policy that allows it", '{\n"bootOn": ["applied",\n "interrupted"]}', true],
    ["a policy that does not", '{"bootOn":["applied","no-state"]}', false],
  ])("decides about a stage that was killed by the policy of the initrd: %s", async (_, text, opens) => {
    const [exit, record] = await ask(text === undefined ? {} : { "initrd/policy.json": text });
    expect(exit).toBe(opens ? 0 : 1);
    expect(JSON.parse(record)).toEqual({ version: 1, outcome: "interrupted", bootsOn: opens });
  });
});

describe("the search for the state", () => {
  const search = join(import.meta.dirname, "../../initrd-hooks/dracut/60mos/mos-state.sh");

  /** Runs it with this kernel command line on a root with these directories and this /etc/fstab. */
  async function find(commandLine: string, directories: readonly string[], fstab = ""): Promise<string> {
    const directory = await temporaryDirectory();
    const root = join(directory, "root");
    for (const path of ["etc", "var", ...directories]) await mkdir(join(root, path), { recursive: true });
    await mkdir(join(directory, "run"));
    await writeFile(join(root, "etc/fstab"), fstab);
    await writeFile(join(directory, "cmdline"), `quiet ${commandLine} rw\n`);
    const script = 'mount --bind "$0/run" /run; mount --bind "$0/cmdline" /proc/cmdline; sh "$1" "$0/root"';
    await run("unshare", ["--mount", "sh", "-ec", script, directory, search]);
    return (await readFile(join(directory, "run/mos/initrd-state"), "utf8")).trim().replaceAll(root, "ROOT");
  }

  const own = ["var/lib"];
  it.each([
    ["on a root that holds it", "", own, "", "found root"],
    ["by the word of the command line", "mos.state=root", [], "LABEL=x /var ext4 rw 0 0", "found root"],
    ["on an installer's medium", "fstab=no", [], "LABEL=x /var ext4 rw 0 0", "found root"],
    ["by a line for something else", "", own, "# /var\nLABEL=x /srv ext4 rw 0 0", "found root"],
    ["that comes over the network", "", own, "server:/x /var nfs rw 0 0", "missing later server:/x"],
    ["that somebody mounts by hand", "", own, "/dev/x /var ext4 noauto 0 0", "missing later /dev/x"],
    ["of an ostree", "ostree=/ostree/boot.1/fleet/0a/0", ["ostree/deploy/fleet/var"], "", "found ostree"],
    ["of an ostree that is not there", "ostree=/ostree/boot.1/../0a/0", own, "", "found root"],
    [
      "of a disk that does not come",
      "mos.state=LABEL=no-such-label mos.state-timeout=0",
      own,
      "",
      "missing device /dev/disk/by-label/no-such-label",
    ],
  ] as const)("ends well with state %s", async (_, commandLine, directories, fstab, answer) => {
    expect(await find(commandLine, directories, fstab)).toBe(answer);
  });
});
