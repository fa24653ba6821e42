// What mos adds to the boot of a machine, as systemd counts it: with the stage in the initrd, and with the service stage
// alone, for the same services in the same guest of User-Mode Linux, in turn.
import { mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { acceptReleases, initrdWith, makeVar, StagedMachine } from "../test/machine/initrd-fixture.ts";
import { guestInitrd } from "../tools/guest-initrd.ts";
import { type Figure, figure } from "./measure.ts";

/** Boots of each kind that count; one before them does not. */
const rounds = 2;

/** Seconds of one boot, counted from the kernel's start. */
interface Boot {
  readonly initrd: number;
  /** From the change to the real root until the boot is over. */
  readonly userspace: number;
  /** When the last service was up; without services, the target that wants them. */
  readonly services: number;
}

async function measure({ machine }: StagedMachine): Promise<Boot> {
  const script = "systemd-analyze time; systemctl show -P ActiveEnterTimestampMonotonic mos.target";
  const { stdout } = await machine.exec(script);
  const part = (name: string): number => {
    const match = new RegExp(`(?:(\\d+)min )?([\\d.]+)(m?)s \\(${name}\\)`).exec(stdout);
    if (match === null) throw new Error(`systemd-analyze says nothing of ${name}: ${stdout}`);
    return Number(match[1] ?? 0) * 60 + Number(match[2]) / (match[3] === "m" ? 1000 : 1);
  };
  const up = Number(stdout.trim().split("\n").at(-1)) / 1e6;
  return { initrd: part("initrd"), userspace: part("userspace"), services: up };
}

const seconds = (values: readonly number[]): string => {
  const { median, min, max }: Figure = figure(values);
  return `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
};

async function bootsWith(count: number): Promise<Record<"initrd" | "service", readonly Boot[]>> {
  const work = await mkdtemp("/var/tmp/mos-bench-boot-");
  try {
    const { device, ca } = await acceptReleases(work, [count]);
    await makeVar(join(work, "state.img"), device, ["-L", "mos-state"]);
    const initrd = join(work, "initrd");
    const policy = JSON.stringify({ version: 1, anchors: ["initrd"] });
    await initrdWith(initrd, await guestInitrd(), {
      "etc/mos/initrd/manifestCA.pem": ca,
      "etc/mos/initrd/policy.json": policy,
    });
    const start = { initrd, disks: [join(work, "state.img")], kernelArguments: [] };
    await using staged = await StagedMachine.boot(`bench-boot-${count}`, start);
    await staged.setFstab("LABEL=mos-state /var ext4 defaults 0 2");
    const boots: Record<"initrd" | "service", Boot[]> = { initrd: [], service: [] };
    for (let round = 0; round < rounds; round++) {
      for (const [side, kernelArguments] of [
        ["initrd", []],
        ["service", ["mos.initrd=no"]],
      ] as const) {
        await staged.reboot({ kernelArguments });
        await staged.machine.waitFor("services to be up", async () =>
          (await staged.status()).health === "ok" ? true : undefined,
        );
        boots[side].push(await measure(staged));
      }
    }
    return boots;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The table of `./dev bench`. */
export async function bootOfAMachine(): Promise<{
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}> {
  const added =
    (await stat(await guestInitrd())).size - (await stat(await guestInitrd({ withMos: false }))).size;
  const rows: string[][] = [];
  for (const count of [0, 1, 10]) {
    const boots = await bootsWith(count);
    for (const [side, name] of [
      ["initrd", "initrd stage"],
      ["service", "service stage"],
    ] as const) {
      const of = (key: keyof Boot): string => seconds(boots[side].map((boot) => boot[key]));
      rows.push([`${count}`, name, of("initrd"), of("userspace"), of("services")]);
    }
  }
  return {
    title: `Boot (mos adds ${(added / 1024).toFixed(1)} KiB to the initrd)`,
    headings: ["services", "brought up by", "initrd s", "userspace s", "services up after s"],
    rows,
  };
}
