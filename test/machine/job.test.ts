// A machine for one job, in order: the job does not want to end, and the machine is off at its deadline; in a second try the
// system itself stands still, and the watchdog resets it.
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Machine } from "../../src/machine/machine.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { exampleJob } from "./example-services.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;
let machine: Machine;

async function run(...command: string[]): Promise<{ readonly exit: number; readonly text: string }> {
  const { exitCode, stdout, stderr } = await machine.exec(command, { accept: "any", timeoutMs: 120_000 });
  return { exit: exitCode, text: `${stdout}${stderr}` };
}

beforeAll(async () => {
  device = await bootDevice("job");
  machine = device.machine;
  publisher = await Publisher.trustedBy(device);
});
afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

test("has its watchdog while its job runs", async () => {
  const script = "trap '' TERM INT; echo begun; touch x; while :; do sleep 1; done";
  const reference = await publisher.publish(await exampleJob(await busyboxRoot(), script, "90s"), "job");
  expect(await run("mosctl", "update", reference)).toMatchObject({ exit: 0 });
  const property = ["busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"];
  const watchdog = await run(...property, "org.freedesktop.systemd1.Manager", "RuntimeWatchdogUSec");
  expect(watchdog.text.trim()).toBe("t 60000000");
  const said = await run("journalctl", "-b", "_PID=1", "--output=cat", "--grep=hardware watchdog");
  expect(said.text).toMatch(/Software Watchdog.*\/dev\/watchdog0/);
  expect((await run("mosctl", "logs", "job")).text).toContain("begun");
  expect((await run("mosctl", "exec", "job", "--", "/bin/busybox", "ls", "/work")).text).toBe("x\n");
});

test("is off at the deadline although the job does not end, and keeps nothing of it", async () => {
  await machine.poweredOff(240_000);
  await machine.start();
  // Its working directory was a volume that goes with the job: neither it nor the file that the job made is on the disk.
  const found = await run("find", "/var/lib/mos", "-name", "*workspace*", "-o", "-name", "x");
  expect(found).toEqual({ exit: 0, text: "" });
});

test("is reset by the watchdog when the system stands still, so that not even the deadline can come", async () => {
  await machine.waitFor("the job", async () => {
    return (await run("systemctl", "is-active", "mos-watchdog.service")).exit === 0 || undefined;
  });
  const manager = [
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
  ];
  const sooner = ["busctl", "set-property", ...manager, "RuntimeWatchdogUSec", "t", "10000000"];
  expect((await run(...sooner)).text).toBe("");
  const isReset = () => /softdog: Initiating system reboot/.test(machine.console());
  expect(isReset()).toBe(false);
  // systemd itself is in this group.
  await machine.exec("echo 1 > /sys/fs/cgroup/init.scope/cgroup.freeze");
  await vi.waitFor(() => expect(isReset()).toBe(true), { timeout: 60_000, interval: 200 });
});
