// ./dev demo: the whole way, for real. A keyset, a service packed from Debian's docker-registry, a manifest signed
// and published, a device that boots, verifies and runs it, and runs it again after a reboot without its publisher.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Machine } from "../src/machine/machine.ts";
import { Network } from "../src/machine/network.ts";
import { bootUml } from "../src/machine/uml.ts";
import { run } from "../src/system/process.ts";
import { Publisher } from "../test/machine/publisher.ts";
import { guestDisk } from "./guest-disk.ts";
import { buildPackage } from "./package.ts";
import { registryRoot } from "./roots.ts";
import { say } from "./say.ts";
import { interact } from "./shell.ts";

/** One row of the table at the end. */
interface Timing {
  readonly step: string;
  readonly seconds: number;
}

class Steps {
  readonly timings: Timing[] = [];

  async do<T>(step: string, work: () => Promise<T>): Promise<T> {
    say(`${step} …`);
    const start = performance.now();
    const result = await work();
    const seconds = (performance.now() - start) / 1000;
    this.timings.push({ step, seconds });
    say(`${step}: done in ${seconds.toFixed(1)} s`);
    return result;
  }

  table(): string {
    const width = Math.max(...this.timings.map(({ step }) => step.length));
    const rows = this.timings.map(
      ({ step, seconds }) => `  ${step.padEnd(width)}  ${seconds.toFixed(1).padStart(7)} s`,
    );
    const total = this.timings.reduce((sum, { seconds }) => sum + seconds, 0);
    return [...rows, `  ${"total".padEnd(width)}  ${total.toFixed(1).padStart(7)} s`].join("\n");
  }
}

function manifestOf(root: string): string {
  return `version: 1
product: default
update_type: complete
storage:
  - label: zot-data
    persistent: true
    nsgroup: zot
    size: 1G
targets:
  - service_name: zot
    source: "rootfs:${root}"
    image:
      entrypoint: [/usr/bin/docker-registry, serve, /etc/registry.yml]
    version: 1.0.0
    service_type: container
    nsgroup: zot
    network:
      type: simple
      ipv4: 10.0.3.99/24
      ports:
        - host: 80
          container: 5000
    storage:
      - {dest: /var/lib/registry, label: zot-data}
`;
}

/** Runs a command in the guest and shows both, as a person at its console would see them. */
async function show(machine: Machine, command: string): Promise<void> {
  process.stdout.write(`\ndevice# ${command}\n`);
  const { stdout, stderr } = await machine.exec(command, { timeoutMs: 300_000, accept: "any" });
  process.stdout.write(`${stdout}${stderr}\n`);
}

async function waitForHealth(machine: Machine): Promise<void> {
  await machine.waitFor("all services to run", async () => {
    const { stdout } = await machine.exec(["mosctl", "status", "--json"], { accept: "any" });
    const status: unknown = stdout.trim() === "" ? undefined : JSON.parse(stdout);
    return typeof status === "object" && status !== null && "health" in status && status.health === "ok"
      ? true
      : undefined;
  });
}

async function skopeo(network: Network, ...args: string[]): Promise<string> {
  const [program, ...rest] = network.command(["skopeo", ...args]);
  return (await run(program, rest, { timeoutMs: 120_000 })).stdout;
}

/** Pushes a real image through the published port and pulls it back, digests compared. */
async function roundTrip(
  network: Network,
  publisher: Publisher,
  image: string,
  work: string,
): Promise<string> {
  const device = `docker://${network.guestAddress}:80/copy:1`;
  const from = `docker://${publisher.authority}/mos:${image.slice("sha256:".length)}`;
  await skopeo(network, "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", from, device);
  return await pullBack(network, image, work);
}

async function pullBack(network: Network, image: string, work: string): Promise<string> {
  const device = `docker://${network.guestAddress}:80/copy:1`;
  await skopeo(
    network,
    "copy",
    "--quiet",
    "--src-tls-verify=false",
    device,
    `oci:${join(work, "pulled")}:copy`,
  );
  const digest = (
    await skopeo(network, "inspect", "--format", "{{.Digest}}", `oci:${join(work, "pulled")}:copy`)
  ).trim();
  if (digest !== image) throw new Error(`pushed ${image}, but pulled ${digest}`);
  return digest;
}

/** @param keep leaves the guest running, with a prompt into it, until its shell ends */
export async function demo({ keep }: { readonly keep: boolean }): Promise<boolean> {
  const steps = new Steps();
  const work = await mkdtemp(join(tmpdir(), "mos-demo-"));
  const { executable, packageFile } = await steps.do("build the executable and its package", buildPackage);
  const root = await steps.do("make the service's root from Debian's docker-registry", registryRoot);
  const guest = await steps.do("make the guest's disk and install the package in it", () =>
    guestDisk(packageFile),
  );
  const network = await Network.create();
  try {
    await using publisher = await steps.do("start the publisher's registry", () =>
      Publisher.create(network, executable),
    );
    await steps.do("make a keyset and a project", () => publisher.makeKeys());
    const reference = await steps.do("pack, sign and publish the manifest", () =>
      publisher.publish(manifestOf(root), "1.0.0"),
    );
    await using machine = await steps.do("boot the device", async () => {
      const booted = await bootUml({ ...guest, network });
      await booted.booted();
      return booted;
    });
    await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa());
    await show(machine, "mosctl status");
    await steps.do("mosctl update: fetch, verify, store, activate", () =>
      show(machine, `mosctl update ${reference}`),
    );
    await steps.do("wait until the service answers", () => waitForHealth(machine));
    await show(machine, "mosctl status");
    const { stdout } = await machine.exec(["mosctl", "status", "--json"], { accept: "any" });
    const image = await imageOf(publisher, stdout);
    await steps.do("push and pull an image through the published port", () =>
      roundTrip(network, publisher, image, work),
    );
    await steps.do("take the publisher and its network away", async () => {
      await publisher.registry.stop();
      await network.setHost(false);
    });
    await steps.do("reboot the device, offline", async () => {
      await machine.reboot();
      await machine.booted();
      await waitForHealth(machine);
    });
    await show(machine, "mosctl status");
    await steps.do("bring the network back and pull the image again", async () => {
      await network.setHost(true);
      await machine.waitFor(
        "the port to answer again",
        async () => (await network.canConnect(80)) || undefined,
      );
      await pullBack(network, image, work);
    });
    process.stdout.write(
      `\nThe image came back with the digest that was pushed: ${image}\n\n${steps.table()}\n\n`,
    );
    if (keep) {
      say(
        `the device runs on: ip netns exec ${network.name} curl http://${network.guestAddress}/v2/_catalog`,
      );
      await interact(machine);
    }
    return true;
  } finally {
    await network.remove();
    await rm(work, { recursive: true, force: true });
  }
}

/** Digest of the service's image, from the manifest that the device runs. */
async function imageOf(publisher: Publisher, status: string): Promise<string> {
  const { generation } = JSON.parse(status) as { generation: { reference: string } };
  const ca = join(publisher.directory, "keys/demo/manifest-ca/cert.pem");
  const { stdout } = await publisher.mos(
    "mosctl",
    "verify",
    generation.reference,
    "--ca",
    ca,
    "--content",
    "--json",
  );
  const { manifest } = JSON.parse(stdout) as { manifest: { targets: { digest: string }[] } };
  return manifest.targets[0]?.digest ?? "";
}
