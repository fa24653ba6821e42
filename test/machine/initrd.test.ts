// Boots that begin in an initrd: where the state is found, what becomes of a boot without it, and what a person sees of
// it. All of them are done before the tests, which look at what was seen.
import { stat } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import type { BootStatus } from "../../src/agent/status-model.ts";
import { guestInitrd } from "../../tools/guest-initrd.ts";
import { type Boots, bootAll } from "./initrd-boots.ts";
import type { Observation } from "./initrd-fixture.ts";

let boots: Boots;
beforeAll(async () => {
  boots = await bootAll();
}, 1_500_000);

/** What a boot looked like; fails as the boot did. */
function seen(name: string): Observation {
  const one = boots.seen.get(name) ?? expect.fail(`there was no boot ${name}`);
  if (one instanceof Error) throw one;
  return one;
}

const began = ({ status }: Observation): BootStatus =>
  status.boot ?? expect.fail("status says nothing of it");

/** Reloads of systemd that its own initrd-parse-etc.service did not ask for: that one is before the switch to the root. */
const reloads = ({ log }: Observation): string[] =>
  log.filter((line) => /^Reload(ing)? requested/.test(line) && !line.includes("initrd-parse-etc.service"));

/** Where systemd has logged a line for the last time: targets of the same name are in the initrd too. */
const at = ({ log }: Observation, line: RegExp): number => {
  const found = log.findLastIndex((one) => line.test(one));
  return found === -1 ? expect.fail(`systemd has not logged ${line}`) : found;
};

/** The services were part of the first boot transaction: started once, before the boot was over, with nothing read anew. */
function expectFirstTransaction(boot: Observation, madeBy: "quadlet" | "mos" = "quadlet"): void {
  expect(reloads(boot)).toEqual([]);
  expect(boot.service).toBe("active");
  const directory = madeBy === "quadlet" ? "/run/systemd/generator" : "/run/systemd/system";
  expect(boot.fragment).toBe(`${directory}/mos-svc-svc1.service`);
  expect(boot.initrdBootId).toBe(boot.bootId);
  expect(boot.log.filter((line) => line.startsWith("Starting mos-svc-svc1.service"))).toHaveLength(1);
  expect(at(boot, /^Started mos-svc-svc1.service/)).toBeLessThan(
    at(boot, /^Reached target multi-user.target/),
  );
  expect(boot.status.health).toBe("ok");
  expect(began(boot).service).toBe("nothing-to-do");
  expect(boot.failedUnits).toEqual([]);
}

/** Both quadlets were read and are what they say. */
function expectSigned(boot: Observation): void {
  expect(boot.signed).toMatchObject({ image: "active", apps: "active" });
}

const signedUnits = ["mos-initrd-files.service", "mos-validator.service"];

/** Without what the stages of signed files do. */
function withoutValidator(boot: Observation): Observation {
  const failedUnits = boot.failedUnits.filter((unit) => !signedUnits.includes(unit));
  return { ...boot, failedUnits, log: boot.log.filter((line) => !line.includes("mos-validator.service")) };
}

describe("a boot that begins in the initrd", () => {
  it.each([
    ["partition type", "found partition", "/dev/ubdb1"],
    ["late label", "found partition", "/dev/ubdb"],
    ["x-initrd.mount", "found mounted", "/dev/ubdb"],
    ["ostree", "found ostree", "/dev/ubda[/ostree/deploy/fleet/var]"],
  ])(
    "starts services in its first transaction with state found by %s (complaint 1)",
    (name, state, source) => {
      const boot = seen(name);
      expect(began(boot).initrd).toMatchObject({ outcome: "applied", generation: 2, state });
      expect(boot.varSource).toBe(source);
      // This machine still has the podman of the boot before.
      expectFirstTransaction(withoutValidator(boot), name === "ostree" ? "mos" : "quadlet");
    },
  );

  it("finds state that is only in /etc/fstab, and is not held up by a unit that blocks before basic.target", () => {
    const boot = seen("fstab");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expect(boot.failedUnits).toEqual(["blocking.service"]);
    expectFirstTransaction({ ...boot, failedUnits: [] });
    expect(at(boot, /^Failed to start blocking.service/)).toBeLessThan(
      at(boot, /^Reached target basic.target/),
    );
  });

  it("is the same with an initrd of initramfs-tools, which has no systemd", () => {
    const boot = seen("initramfs-tools");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expectFirstTransaction({ ...boot, initrdBootId: boot.bootId });
  });

  it("installs signed quadlets that are part of the first transaction, with /var on another file system", () => {
    const boot = seen("fstab");
    expect(began(boot).files).toMatchObject({
      outcome: "installed",
      configs: [
        { outcome: "installed" },
        { config: "/etc/validator/boot.d/20-apps.conf", outcome: "installed" },
      ],
    });
    expectSigned(boot);
    expect(at(boot, /^Started apps-volume.service|^Finished apps-volume.service/)).toBeLessThan(
      at(boot, /^Reached target multi-user.target/),
    );
  });

  it.each(["initramfs-tools", "ostree"])("installs signed quadlets: %s", (name) => {
    const boot = seen(name);
    expect(began(boot).files).toMatchObject({ outcome: "installed" });
    expectSigned(boot);
  });

  it("installs nothing of a configuration with an unsigned file, all of the others, and says so", () => {
    const boot = seen("x-initrd.mount");
    expect(began(boot).files).toMatchObject({
      outcome: "incomplete",
      configs: [
        { outcome: "installed" },
        { outcome: "refused", written: 0, problems: [{ code: "signed-file-unsigned" }] },
      ],
    });
    expect(boot.signed).toMatchObject({ image: "active", apps: "inactive" });
    expect(boot.signed.quadlets).toContain("image.volume");
    expect(boot.signed.quadlets).not.toContain("apps.volume");
    expect(boot.failedUnits).toEqual(signedUnits);
  });

  it("finishes what a power cut left of a signed set", () => {
    const boot = seen("ostree");
    expect(began(boot).files?.sets).toEqual(["half"]);
    expect(boot.signed.quadlets).not.toContain("half.volume");
  });

  it("merges what its image has for everybody, its class and other machines, before systemd reads its units", () => {
    const boot = seen("fstab");
    expect(boot.level).toBe("kiosk active");
    expect(began(boot).files).toMatchObject({ levels: { restored: ["fleet"], later: [] }, problems: [] });
    expect(boot.status.sets).toEqual([
      {
        ...{ name: "fleet", destination: "/etc/containers/systemd" },
        levels: [
          { level: "class:kiosk", serial: 2, source: "image", files: 1, paths: ["level.volume"] },
          { level: "everybody", serial: 2, source: "image", files: 1, paths: ["all.volume"] },
        ],
      },
    ]);
  });

  it("brings what was installed for this very machine, and what its class has once that is removed", () => {
    const own = seen("x-initrd.mount");
    expect(own.level).toBe("m1 active");
    expect(own.status.sets?.[0]?.levels.find(({ source }) => source === "kept")).toEqual({
      ...{ level: "machine:m1", serial: 2, source: "kept", files: 1, paths: ["level.volume"] },
    });
    expect(began(own).files).toMatchObject({ levels: { restored: ["fleet"] } });
    expect(seen("initramfs-tools").level).toBe("kiosk active");
    expect(began(seen("initramfs-tools")).files).toMatchObject({ levels: { restored: ["fleet"] } });
  });

  it("comes to the same levels in the running system where the initrd did not find the state", () => {
    expect(began(seen("too late")).files).toMatchObject({ outcome: "no-state", levels: { restored: [] } });
    expect(seen("too late").level).toBe("kiosk active");
  });

  it("leaves signed files to the running system where the state is missing", () => {
    const boot = seen("missing");
    expect(began(boot).files).toMatchObject({ outcome: "no-state", configs: [] });
    expect(boot.signed).toMatchObject({ image: "active", apps: "active" });
  });

  it("installs on a first boot what the image brings, and what comes later when it is there", () => {
    const boot = seen("back again");
    expect(began(boot).files).toMatchObject({
      outcome: "incomplete",
      configs: [
        { outcome: "installed" },
        { outcome: "no-source", written: 0, problems: [{ code: "signed-source-missing" }] },
      ],
    });
    expectSigned(boot);
    expect(reloads(boot).filter((line) => line.includes("mos-validator.service"))).toHaveLength(1);
    expectSigned(seen("trial"));
    expect(began(seen("trial")).files).toMatchObject({ outcome: "installed" });
  });

  it("is waited for while its storage is slow, and killed by nothing", () => {
    const boot = seen("late label");
    expect(at(boot, /^Finished mos-initrd-state.service/)).toBeLessThan(at(boot, /^Switching root/));
    expect(boot.log.filter((line) => /mos-initrd.*(killed|Failed)/.test(line))).toEqual([]);
  });

  it("goes on without state that comes too late, and the agent brings up what was missing", () => {
    const boot = seen("too late");
    expect(began(boot)).toMatchObject({
      initrd: { outcome: "no-state", state: "missing device /dev/disk/by-label/mos-state" },
      service: "applied",
    });
    expect(boot.status.health).toBe("ok");
    const units = reloads(boot).map((line) => line.replace(/.*\(unit (.*)\).*/, "$1"));
    expect(units.sort()).toEqual(["mos-sets.service", "mos-validator.service", "mosd.service"]);
    // A start that does not wait: basic.target is reached before the services are up.
    expect(at(boot, /^Reached target basic.target/)).toBeLessThan(at(boot, /^Started mos-svc-svc1.service/));
  });

  it("says that the state is missing, and the next boot with it is whole again", () => {
    const boot = seen("missing");
    expect(began(boot).initrd).toMatchObject({
      outcome: "no-state",
      state: "missing device /dev/ubdb1",
      error: { code: "state-missing" },
    });
    expect(boot.status.health).toBe("none");
    const next = seen("back again");
    expect(began(next).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expectFirstTransaction(withoutValidator(next));
  });

  it("says that the state's file system cannot be mounted", () => {
    const { initrd } = began(seen("damaged file system"));
    expect(initrd).toMatchObject({ outcome: "no-state", state: "missing mount /dev/ubdb1" });
  });

  it("brings up a generation on trial, counts the try once, and the agent decides about it", () => {
    const boot = seen("trial");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", generation: 2 });
    expectFirstTransaction(boot);
    expect(boot.status.generation).toMatchObject({ number: 2, previous: 1 });
    expect(boot.status.failures).toBeUndefined();
  });

  it("falls back to the generation before when the current one is damaged", () => {
    const boot = seen("damaged generation");
    expect(began(boot).initrd).toMatchObject({ outcome: "unhealthy-fallback", generation: 1 });
    expectFirstTransaction(boot);
    expect(boot.status.generation?.number).toBe(1);
  });

  it("starts nothing when no generation verifies, and neither does the agent", () => {
    const boot = seen("everything damaged");
    expect(began(boot)).toMatchObject({ initrd: { outcome: "refused" }, service: "refused" });
    expect(boot.status.health).toBe("refused");
    expect([boot.service, boot.fragment]).toEqual(["inactive", ""]);
    expect(reloads(boot)).toEqual([]);
  });

  it("is served with a podman that does not read /run/containers/systemd", () => {
    const boot = seen("old podman");
    expect(began(boot).initrd.outcome).toBe("applied");
    expectFirstTransaction(boot, "mos");
    // Those of others are found by the generator.
    expectSigned(boot);
  });

  it("ends, without a shell, where the policy does not let it go on", () => {
    expect(boots.refused).toContain("the guest's machine ended while booting");
    expect(boots.refused).toContain("this boot ends here");
    expect(boots.refused).not.toContain("Switching root");
  });
});

describe("the initrd", () => {
  it("has no program of mos in it, and grows by kilobytes", async () => {
    const plain = await stat(await guestInitrd({ withMos: false }));
    const { size } = await stat(await guestInitrd());
    expect(size - plain.size).toBeLessThan(64 * 1024);
  });
});
