// What is done to the kernel images in the EFI system partition, played through with a loader of a few lines: which one
// it starts next after each step of each plan, wherever the power goes.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Entry,
  entryName,
  fateOf,
  type NewEntry,
  parseEntryName,
  planBless,
  planCleanup,
  planGoBack,
  planInstall,
  planWithdraw,
  type Step,
} from "../../../src/boot/esp-entries.ts";
import { compareVersions } from "../../../src/boot/version-order.ts";

const rootHash = "a".repeat(64);
const hostfs = (version: string) => `sha256:${version.replaceAll(".", "").padStart(64, "0")}`;
const lineOf = (version: string) => `roothash=${rootHash} mos.hostfs=${hostfs(version)} v=${version}`;

function entry(version: string, left?: number, done = 0): Entry {
  const base = `demo_${version}`;
  return {
    ...{ file: entryName(base, left, done), base, left, done, commandLine: lineOf(version) },
    ...{ digest: version.padEnd(64, "0"), bytes: 100, imageId: "demo", imageVersion: version },
  };
}

function next(version: string): NewEntry {
  const { commandLine, digest, bytes, imageId, imageVersion } = entry(version);
  return { commandLine, digest, bytes, imageId, imageVersion, tries: 3 };
}

/** What is there after some steps. */
function changed(entries: readonly Entry[], steps: readonly Step[], written?: NewEntry): Entry[] {
  const now = [...entries];
  const named = (file: string): Entry => {
    const name = parseEntryName(file) ?? expect.fail(file);
    const fresh = written === undefined ? undefined : { ...entry(written.imageVersion), ...written };
    const found = entries.find(({ base }) => base === name.base) ?? fresh ?? expect.fail(file);
    return { ...found, file, ...name };
  };
  for (const step of steps) {
    const at = now.findIndex(({ file }) => file === (step.kind === "rename" ? step.from : step.file));
    if (step.kind !== "write") now.splice(at, 1);
    if (step.kind === "write") now.push(named(step.file));
    if (step.kind === "rename") now.push(named(step.to));
  }
  return now;
}

/** What systemd-boot takes: good ones before bad ones, the newest of them. */
function loader(entries: readonly Entry[]): Entry | undefined {
  const isBad = ({ left }: Entry) => Number(left === 0);
  return entries.toSorted(
    (a, b) =>
      isBad(a) - isBad(b) ||
      compareVersions(b.imageVersion, a.imageVersion) ||
      compareVersions(b.base, a.base),
  )[0];
}

/** Starts the device: the loader counts. */
function start(entries: readonly Entry[]): {
  readonly entries: Entry[];
  readonly started: string | undefined;
} {
  const chosen = loader(entries);
  const counted = entries.map((one) => {
    if (one !== chosen || one.left === undefined) return one;
    const [left, done] = [Math.max(0, one.left - 1), one.done + 1];
    return { ...one, left, done, file: entryName(one.base, left, done) };
  });
  return { entries: counted, started: chosen?.imageVersion };
}

const free = 10 * 1024 * 1024;
const question = { foreign: [], free };

describe("the name of a kernel image", () => {
  test.each([
    ["demo_1.0.efi", { base: "demo_1.0", left: undefined, done: 0 }],
    ["demo_1.0+3.efi", { base: "demo_1.0", left: 3, done: 0 }],
    ["demo_1.0+0-3.efi", { base: "demo_1.0", left: 0, done: 3 }],
    ["demo_1.0+2-1.EFI", { base: "demo_1.0", left: 2, done: 1 }],
  ])("%s", (file, name) => expect(parseEntryName(file)).toEqual(name));

  test("of something else is none", () => {
    for (const file of ["demo.efi.tmp", "+3.efi", "notes.txt", "a/b.efi"])
      expect(parseEntryName(file)).toBeUndefined();
  });

  test("can be read back", () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z][a-z0-9._-]{0,20}$/),
        fc.option(fc.nat({ max: 99 }), { nil: undefined }),
        fc.nat({ max: 99 }),
        (base, left, done) => {
          const counted = left === undefined ? 0 : done;
          expect(parseEntryName(entryName(base, left, counted))).toEqual({ base, left, done: counted });
        },
      ),
    );
  });
});

describe("versions", () => {
  test("are ordered as systemd-boot orders them", () => {
    const ordered = ["1~rc1", "1", "1-1", "1^1", "1.0", "1.2", "1.10", "2~a", "2", "10"];
    for (const [i, a] of ordered.entries())
      for (const [j, b] of ordered.entries())
        expect([a, b, Math.sign(compareVersions(a, b))]).toEqual([a, b, Math.sign(i - j)]);
  });

  test("have one order", () => {
    const version = fc.stringMatching(/^[0-9a-c.~^-]{1,8}$/);
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(Math.sign(compareVersions(a, b))).toBe(-Math.sign(compareVersions(b, a)) + 0);
        expect(compareVersions(a, a)).toBe(0);
      }),
    );
  });
});

describe("a new kernel image", () => {
  test("is written beside the one that runs, and is what the loader starts next, three times", () => {
    const booted = entry("1.0");
    const { steps } = planInstall({ ...question, entries: [booted], next: next("1.1"), booted });
    expect(steps).toEqual([{ kind: "write", file: "demo_1.1+3.efi" }]);
    let entries = changed([booted], steps, next("1.1"));
    const started: (string | undefined)[] = [];
    for (let i = 0; i < 4; i++) {
      const boot = start(entries);
      entries = boot.entries;
      started.push(boot.started);
    }
    expect(started).toEqual(["1.1", "1.1", "1.1", "1.0"]);
    expect(fateOf(entries, lineOf("1.1"))).toBe("failed");
  });

  test.each(["0.9", "1.0~rc", "1.0"])(
    "of version %s, which the loader would not prefer, is started next too",
    (version) => {
      const booted = entry("1.0");
      const wanted = { ...next(version), digest: "f".repeat(64), commandLine: `${lineOf(version)} other` };
      const { steps, base } = planInstall({ ...question, entries: [booted], next: wanted, booted });
      const entries = changed([booted], steps, wanted);
      expect(loader(entries)?.base).toBe(base);
      // And the one that runs is what comes after it.
      const bad = entries.map((one) => (one.base === base ? { ...one, left: 0, done: 3 } : one));
      expect(loader(bad)?.commandLine).toBe(booted.commandLine);
    },
  );

  test("never takes the name of somebody else's file", () => {
    const booted = entry("1.0");
    const foreign = ["demo_1.1.efi"];
    const { steps } = planInstall({ ...question, foreign, entries: [booted], next: next("1.1"), booted });
    expect(steps).toEqual([{ kind: "write", file: `demo_1.1~${next("1.1").digest.slice(0, 8)}+3.efi` }]);
  });

  test("takes the place of bad and old ones where there is no room, and never of the one that runs", () => {
    const booted = entry("1.0");
    const entries = [entry("0.8"), entry("0.9", 0, 3), booted];
    const need = 1024 * 1024 + 100;
    const plan = (room: number) =>
      planInstall({ ...question, free: room, entries, next: next("1.1"), booted }).steps.map((step) =>
        step.kind === "rename" ? step.from : `${step.kind} ${step.file}`,
      );
    expect(plan(need)).toEqual(["write demo_1.1+3.efi"]);
    expect(plan(need - 50)).toEqual(["remove demo_0.9+0-3.efi", "write demo_1.1+3.efi"]);
    expect(plan(need - 150)).toEqual([
      "remove demo_0.9+0-3.efi",
      "remove demo_0.8.efi",
      "write demo_1.1+3.efi",
    ]);
    expect(() => plan(0)).toThrow(expect.objectContaining({ code: "esp-full" }));
  });

  test("that is there already only gets its tries again", () => {
    const booted = entry("1.0");
    const entries = [booted, entry("1.1", 0, 3)];
    const { steps } = planInstall({ ...question, entries, next: next("1.1"), booted });
    expect(steps).toEqual([{ kind: "rename", from: "demo_1.1+0-3.efi", to: "demo_1.1+3.efi" }]);
  });

  test("leaves something to start wherever the power goes, and the running image's bytes where they are", () => {
    const versions = fc.constantFrom("0.9", "1.0", "1.1", "1.2");
    fc.assert(
      fc.property(versions, versions, fc.option(fc.nat({ max: 2 }), { nil: undefined }), (from, to, left) => {
        fc.pre(from !== to);
        const booted = entry(from, left, left === undefined ? 0 : 1);
        const plan = planInstall({ ...question, entries: [booted], next: next(to), booted });
        for (let i = 0; i <= plan.steps.length; i++) {
          const entries = changed([booted], plan.steps.slice(0, i), next(to));
          expect(entries.some(({ commandLine }) => commandLine === booted.commandLine)).toBe(true);
          expect([from, to]).toContain(loader(entries)?.imageVersion);
        }
        expect(loader(changed([booted], plan.steps, next(to)))?.imageVersion).toBe(to);
      }),
    );
  });
});

describe("a kernel image that runs", () => {
  test("is not counted any more once it is good", () => {
    expect(planBless(entry("1.1", 2, 1))).toEqual([
      { kind: "rename", from: "demo_1.1+2-1.efi", to: "demo_1.1.efi" },
    ]);
    expect(planBless(entry("1.1"))).toEqual([]);
  });

  test("and is given up makes room for the one before, at every step", () => {
    const [booted, before] = [entry("1.1", 2, 1), entry("1.0", 0, 1)];
    const steps = planGoBack(booted, before);
    for (let i = 0; i <= steps.length; i++)
      expect(changed([booted, before], steps.slice(0, i)).some(({ left }) => left !== 0)).toBe(true);
    expect(loader(changed([booted, before], steps))?.imageVersion).toBe("1.0");
  });
});

describe("a kernel image that waited in vain", () => {
  test("goes, and the one that runs counts as good", () => {
    const [booted, other] = [entry("1.0", 0, 1), entry("1.1", 0, 3)];
    expect(changed([booted, other], planWithdraw([booted, other], booted, lineOf("1.1"), false))).toEqual([
      entry("1.0"),
    ]);
  });

  test("and was good once stays, behind the one that runs", () => {
    const [booted, newer, older] = [entry("1.0", 0, 1), entry("1.1", 3), entry("0.9", 3)];
    for (const other of [newer, older]) {
      const steps = planWithdraw([booted, other], booted, other.commandLine, true);
      const entries = changed([booted, other], steps);
      expect(entries).toHaveLength(2);
      expect(loader(entries)?.imageVersion).toBe("1.0");
    }
  });

  test("is not held to have failed before it was tried", () => {
    expect(fateOf([entry("1.0")], lineOf("1.1"))).toBe("missing");
    expect(fateOf([entry("1.1", 3)], lineOf("1.1"))).toBe("waiting");
    expect(fateOf([entry("1.1", 2, 1)], lineOf("1.1"))).toBe("failed");
    expect(fateOf([entry("1.1", 0, 3)], lineOf("1.1"))).toBe("failed");
  });
});

describe("cleaning up", () => {
  test("removes what no generation needs, never what runs or has its root in a partition", () => {
    const partition = { ...entry("0.1"), commandLine: `roothash=${rootHash}` };
    const booted = entry("1.2");
    const entries = [partition, entry("1.0"), entry("1.1"), booted];
    const steps = planCleanup(entries, booted, (line) => line === lineOf("1.1"));
    expect(steps).toEqual([{ kind: "remove", file: "demo_1.0.efi" }]);
  });
});
