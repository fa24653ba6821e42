// Sets with units: what they bring runs, or what was there before does.
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import type { Activation } from "../../../src/signed-sets/activation.ts";
import { installSet, recoverSets, removeSet } from "../../../src/signed-sets/install-set.ts";
import { readLedgers } from "../../../src/signed-sets/ledger.ts";
import { impatientClock, memoryManager } from "../../memory-manager.ts";
import { keys, makeTree, setPlace, treeOf } from "./set-fixture.ts";

async function place() {
  const at = await setPlace();
  const systemd = memoryManager();
  const activation: Activation = { systemd, clock: impatientClock(), timeout: 30, settle: 2 };
  const install = async (files: Parameters<typeof makeTree>[1], serial: number) => {
    await makeTree(at.path("set"), files, serial);
    systemd.calls.length = 0;
    return await installSet(at, at.path("set"), keys, { force: false, activation });
  };
  return { ...at, systemd, activation, install };
}

const web = {
  "web.container": "[Container]\nImage=a\n",
  "web.volume": "[Volume]\n",
  "db.container": "[Container]\n",
};

describe("the units of a set", () => {
  test("run after it is installed, and no others are started", async () => {
    const at = await place();
    await at.install(
      { ...web, "tick.timer": "[Timer]\n", "tpl@.service": "[Service]\n", "notes.txt": "" },
      1,
    );
    expect([...at.systemd.up].sort()).toEqual(["db.service", "tick.timer", "web.service"]);
    expect(at.systemd.calls[0]).toBe("stop ");
    expect(at.systemd.calls.slice(1)).toEqual([
      "daemon-reload",
      "stop ",
      "start db.service tick.timer web.service",
    ]);
  });
  test("are left alone where nothing changes", async () => {
    const at = await place();
    await at.install(web, 1);
    expect(await at.install(web, 2)).toMatchObject({ written: [] });
    expect(at.systemd.calls).toEqual([]);
    await at.install({ ...web, "db.container": "[Container]\nImage=b\n" }, 3);
    expect(at.systemd.calls).toEqual(["stop ", "daemon-reload", "stop db.service", "start db.service"]);
  });
  test("are all started anew when something changes that any of them may use", async () => {
    const at = await place();
    await at.install(web, 1);
    await at.install({ ...web, "web.volume": "[Volume]\nLabel=x\n" }, 2);
    expect(at.systemd.calls).toContain("start db.service web.service");
  });
  test("are stopped before their files go", async () => {
    const at = await place();
    await at.install(web, 1);
    await at.install({ "db.container": web["db.container"] }, 2);
    expect(at.systemd.calls[0]).toBe("stop web.service");
    expect([...at.systemd.up]).toEqual(["db.service"]);
    await removeSet(at, "quadlets", at.activation);
    expect([...at.systemd.up]).toEqual([]);
    expect(await at.installed()).toEqual({});
  });
  test("that do not run bring back the set before, which runs, and is not older than itself", async () => {
    const at = await place();
    await at.install({ ...web, "old.container": "[Container]\n" }, 1);
    const before = await at.installed();
    at.systemd.failing.add("new.service");
    const failed = at.install({ ...web, "web.container": "[Container]\nImage=b\n", "new.container": "" }, 2);
    await expect(failed).rejects.toMatchObject({
      code: "set-unhealthy",
      problems: ["new.service: it has failed"],
    });
    expect(await at.installed()).toEqual(before);
    expect([...at.systemd.up].sort()).toEqual(["db.service", "old.service", "web.service"]);
    expect(await readLedgers(at.state)).toMatchObject([{ serial: 1 }]);
    at.systemd.failing.clear();
    expect(await at.install({ ...web, "new.container": "" }, 2)).toMatchObject({ outcome: "installed" });
  });
  test("that cannot be started again afterwards are said to be down", async () => {
    const at = await place();
    await at.install(web, 1);
    const before = await at.installed();
    at.systemd.isGone = true;
    await expect(at.install({ ...web, "web.container": "changed" }, 2)).rejects.toMatchObject({
      code: "set-unhealthy",
    });
    expect(await at.installed()).toEqual(before);
  });
  test("that never become active are given up after the time for it", async () => {
    const at = await place();
    const { startUnits } = at.systemd;
    Object.assign(at.systemd, { startUnits: async () => undefined });
    await expect(at.install(web, 1)).rejects.toMatchObject({ code: "set-unhealthy" });
    expect(await at.installed()).toEqual({});
    Object.assign(at.systemd, { startUnits });
  });
  test("of a trial that was interrupted are those of the set before", async () => {
    const at = await place();
    await at.install(web, 1);
    const before = await at.installed();
    // What is on the disk while the new set is on trial: at the moment at which systemd is to read the units.
    const then = { root: at.path("then/root"), state: at.path("then/state") };
    const { daemonReload } = at.systemd;
    Object.assign(at.systemd, {
      daemonReload: async () => {
        await daemonReload();
        const all = { recursive: true, verbatimSymlinks: true };
        await cp(at.root, then.root, all);
        await cp(at.state, then.state, all);
      },
    });
    await at.install({ ...web, "web.container": "changed", "new.container": "" }, 2);
    expect(await treeOf(at.path("then/root/etc/quadlets"))).toMatchObject({ "web.container": "changed" });
    expect(await recoverSets(then)).toEqual(["quadlets"]);
    expect(await treeOf(at.path("then/root/etc/quadlets"))).toEqual(before);
    expect(await readLedgers(then.state)).toMatchObject([{ serial: 1 }]);
    expect(await recoverSets(at)).toEqual([]);
  });
  test("do not count when what was staged is lost: the set before comes back as far as it is there", async () => {
    const at = await place();
    await at.install(web, 1);
    const then = { root: at.path("then/root"), state: at.path("then/state") };
    const { stopUnits } = at.systemd;
    Object.assign(at.systemd, {
      // Before the first name changes.
      stopUnits: async (units: readonly string[]) => {
        const all = { recursive: true, verbatimSymlinks: true };
        await cp(at.root, then.root, { ...all, force: true });
        await cp(at.state, then.state, { ...all, force: true });
        await stopUnits(units);
        Object.assign(at.systemd, { stopUnits });
      },
    });
    await at.install({ ...web, "new.container": "" }, 2);
    await rm(at.path("then/root/etc/quadlets/.mos-set-quadlets"), { recursive: true });
    const journal = at.path("then/state/quadlets.journal.json");
    await writeFile(journal, (await readFile(journal, "utf8")).replace('"trial":true', '"trial":false'));
    expect(await recoverSets(then)).toEqual(["quadlets"]);
    expect(Object.keys(await treeOf(at.path("then/root/etc/quadlets"))).sort()).toEqual(
      Object.keys(web).sort(),
    );
    expect(await readLedgers(then.state)).toMatchObject([{ serial: 1 }]);
  });
});
