// One guest that loses its power again and again, while it is updated, goes back, or boots; and what has to hold each
// time it comes up: exactly one whole generation, verified, with its services well, and nothing left half done.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Status } from "../../src/agent/status-model.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { type FaultTag, faultTags } from "../../src/system/fault.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { bootDevice } from "../machine/harness.ts";
import { Publisher } from "../machine/publisher.ts";
import type { Random } from "./random.ts";

/** Points that an update or a rollback on a healthy device comes by; the others belong to what fails. */
export const points = faultTags.filter((tag) => !/^(revert|resume|boot|system)\./.test(tag));

/** What happened in one round, for the report. */
export interface Cut {
  readonly operation: string;
  readonly instant: string;
  /** Version of the generation that runs afterwards. */
  readonly after: string;
}

const stamps = "/run/mos/faults";

/** A device and two manifests between which it goes. */
export class Campaign implements AsyncDisposable {
  private readonly device: Awaited<ReturnType<typeof bootDevice>>;
  private readonly machine: Machine;
  private readonly publisher: Publisher;
  private readonly random: Random;
  /** Version → reference. */
  private readonly references = new Map<string, string>();
  /** How long an update takes here, milliseconds. */
  private updateMs = 0;

  private constructor(device: Campaign["device"], publisher: Publisher, random: Random) {
    this.device = device;
    this.machine = device.machine;
    this.publisher = publisher;
    this.random = random;
  }

  static async create(name: string, executable: string, random: Random): Promise<Campaign> {
    const device = await bootDevice(`powercut-${name}`);
    const publisher = await Publisher.create(device.network, executable);
    const campaign = new Campaign(device, publisher, random);
    try {
      await campaign.prepare();
    } catch (error) {
      await campaign[Symbol.asyncDispose]();
      throw error;
    }
    return campaign;
  }

  private async prepare(): Promise<void> {
    const { machine, publisher } = this;
    await publisher.makeKeys();
    await machine.exec("mkdir -p /etc/mos");
    await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa(), 0o644);
    for (const version of ["1", "2"]) this.references.set(version, await this.publish(version));
    await this.update("1");
    const begun = performance.now();
    await this.update("2");
    this.updateMs = performance.now() - begun;
    await machine.exec("sync");
  }

  /** Two services: one that is another in each version, and one that never changes. */
  private async publish(version: string): Promise<string> {
    const { publisher } = this;
    const root = async (name: string, page: string): Promise<string> => {
      const path = join(publisher.directory, "roots", name);
      await mkdir(join(path, ".."), { recursive: true });
      await cp(await busyboxRoot(), path, { recursive: true, verbatimSymlinks: true });
      await writeFile(join(path, "www/index.html"), page);
      return path;
    };
    const service = (name: string, path: string, port: number, shown: string) => `
  - service_name: ${name}
    source: "rootfs:${path}"
    image: {entrypoint: [/bin/serve, "${port}"]}
    version: "${shown}"
    nsgroup: ${name}
    network: {type: host}
    health: {http: {port: ${port}, path: /index.html}}`;
    const changing = service("web", await root(`web-${version}`, version), 8080, version);
    const steady = service("steady", await root(`steady-${version}`, "steady"), 8081, "1");
    const yaml = `version: 1\nproduct: test\nhealth: {settle: 1s, tries: 3}\ntargets:${changing}${steady}\n`;
    return await publisher.publish(yaml, version);
  }

  private reference(version: string): string {
    const reference = this.references.get(version);
    if (reference === undefined) throw new Error(`version ${version} was not published`);
    return reference;
  }

  private async update(version: string): Promise<void> {
    await this.machine.exec(["mosctl", "update", this.reference(version)], { timeoutMs: 180_000 });
  }

  private async status(): Promise<Status> {
    const { stdout } = await this.machine.exec(["mosctl", "status", "--json"], {
      accept: [0, 4, 8],
      timeoutMs: 60_000,
    });
    return JSON.parse(stdout) as Status;
  }

  /**
   * Begins an operation, cuts the power in it, and says what came up.
   * @param point where the power goes; undefined for a random instant
   */
  async cut(point: FaultTag | undefined): Promise<Cut> {
    const { machine, random } = this;
    const before = await this.running();
    const other = before === "1" ? "2" : "1";
    const operation = random.pick(["update", "update", "rollback"]);
    const command =
      operation === "update" ? ["mosctl", "update", this.reference(other)] : ["mosctl", "rollback"];
    const instant = point === undefined ? await this.atRandom(command) : await this.atPoint(command, point);
    await machine.powerCut();
    await machine.start();
    let again = "";
    if (random.chance(0.2)) {
      const ms = random.below(6000);
      await sleep(ms);
      await machine.powerCut();
      await machine.start();
      again = `, and again ${ms} ms after the next start`;
    }
    await machine.booted();
    const after = await this.settled();
    return { operation: `${operation} ${before} → ${other}`, instant: `${instant}${again}`, after };
  }

  /** Begins a command whose agent stops at a point, and returns when it has. */
  private async atPoint(command: readonly string[], point: FaultTag): Promise<string> {
    const { machine } = this;
    await this.setFault(`${point}:hang`);
    await this.begin(command);
    const reached = await machine.waitFor(
      `the point ${point}, or the end`,
      async () => {
        const { stdout } = await machine.exec(
          `ls ${stamps} 2>/dev/null || true; systemctl is-active operation.service`,
          {
            accept: "any",
          },
        );
        if (stdout.includes(point)) return "at";
        return /^(inactive|failed)$/m.test(stdout) ? "after" : undefined;
      },
      180_000,
    );
    return reached === "at" ? `at ${point}` : `after it was over (${point} is not on the way)`;
  }

  private async setFault(fault: string, more = ""): Promise<void> {
    const { machine } = this;
    const dropIn = `[Service]\nEnvironment=MOS_FAULT=${fault} MOS_FAULT_STAMPS=${stamps}\n${more}`;
    await machine.exec("mkdir -p /run/systemd/system/mosd.service.d; systemctl stop mosd.service");
    await machine.putFile("/run/systemd/system/mosd.service.d/fault.conf", Buffer.from(dropIn), 0o644);
    await machine.exec(
      "systemctl daemon-reload; systemctl reset-failed mosd.service; systemctl start --no-block mosd.service",
    );
  }

  /**
   * Lets the agent freeze in an update, until systemd's watchdog ends it.
   * @returns how often systemd restarted it, and how often each service was started meanwhile
   */
  async freeze(
    point: FaultTag,
  ): Promise<{ readonly agent: number; readonly web: number; readonly steady: number }> {
    const { machine } = this;
    const other = (await this.running()) === "1" ? "2" : "1";
    await this.setFault(`${point}:freeze`, "WatchdogSec=5\n");
    const before = [await this.startsOf("web"), await this.startsOf("steady")] as const;
    await this.begin(["mosctl", "update", this.reference(other)]);
    const show = ["systemctl", "show", "mosd.service", "--property=NRestarts", "--value"];
    const agent = await machine.waitFor(
      "the watchdog",
      async () => Number((await machine.exec(show)).stdout.trim()) || undefined,
      120_000,
    );
    const after = await this.settled();
    if (after !== other) throw new Error(`version ${after} runs after the watchdog, not ${other}`);
    const [web, steady] = [await this.startsOf("web"), await this.startsOf("steady")];
    return { agent, web: web - before[0], steady: steady - before[1] };
  }

  private async startsOf(service: string): Promise<number> {
    const count = `journalctl --boot --unit=mos-svc-${service}.service --output=cat | grep -c '^Started' || true`;
    return Number((await this.machine.exec(count)).stdout.trim());
  }

  private async atRandom(command: readonly string[]): Promise<string> {
    const ms = this.random.below(Math.round(this.updateMs * 1.1));
    await this.begin(command);
    await sleep(ms);
    return `after ${ms} ms`;
  }

  private async begin(command: readonly string[]): Promise<void> {
    await this.machine.exec([
      ...["systemd-run", "--quiet", "--no-block", "--unit=operation", "--service-type=exec", ...command],
    ]);
  }

  private async running(): Promise<string> {
    const { services } = await this.status();
    return services.find(({ name }) => name === "web")?.version ?? "none";
  }

  /** Waits until whatever was interrupted is finished or undone, and checks what has to hold then. */
  private async settled(): Promise<string> {
    const { machine } = this;
    const status = await machine.waitFor(
      "one whole generation",
      async () => {
        const now = await this.status();
        return now.transaction === undefined && now.health === "ok" ? now : undefined;
      },
      180_000,
    );
    const version = status.services.find(({ name }) => name === "web")?.version;
    const expect = (isSo: boolean, what: string): void => {
      if (!isSo) throw new Error(`${what}: ${JSON.stringify(status)}`);
    };
    expect(version === "1" || version === "2", "neither the old nor the new generation runs");
    expect(status.damage === undefined, "something is damaged");
    expect(status.failures === undefined, "a good generation was given up");
    expect(status.services.length === 2, "the generation is not whole");
    const page = await machine.exec(
      "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
    );
    expect(page.stdout.endsWith(`\r\n\r\n${version}`), `the service answers ${JSON.stringify(page.stdout)}`);
    const pointer = (await machine.exec("readlink /var/lib/mos/current")).stdout.trim();
    expect(pointer === `generations/${status.generation?.number}`, `current is ${pointer}`);
    const left = await machine.exec("ls /var/lib/mos; ls /var/lib/mos/generations -a | grep tmp || true");
    expect(!left.stdout.includes("journal.json"), `something is left: ${left.stdout}`);
    return version ?? "";
  }

  /** What the guest said, for a report of failure. */
  async explain(): Promise<string> {
    const log = await this.machine
      .exec(
        "journalctl -b -u mosd -o cat --no-pager | tail -40; ls -la /var/lib/mos /var/lib/mos/generations",
        { accept: "any" },
      )
      .catch(() => ({ stdout: "the guest does not answer" }));
    return log.stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.publisher[Symbol.asyncDispose]();
    await this.device[Symbol.asyncDispose]();
  }
}
