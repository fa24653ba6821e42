// What it costs that mos runs services: from the start of the boot transaction to ten services that answer, next to
// hand-written quadlets and to `podman run` of the same ten images in the same guest, boots in turn; and what is there for
// each service while it runs.
import { join } from "node:path";
import type { Machine } from "../src/machine/machine.ts";
import type { Network } from "../src/machine/network.ts";
import { run } from "../src/system/process.ts";
import { tarImage } from "../test/machine/example-services.ts";
import { bootDevice } from "../test/machine/harness.ts";
import { Publisher } from "../test/machine/publisher.ts";
import { type Figure, figure } from "./measure.ts";
import type { Subject } from "./subject.ts";

const count = 10;
const boots = 2;
const port = (at: number): number => 9000 + at;
const name = (at: number): string => `s${at}`;
const numbers = Array.from({ length: count }, (_, at) => at);

type Way = "mos" | "quadlets" | "podman run";

const seconds = ({ median, min, max }: Figure): string =>
  `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;

/**
 * Says when the last of the ports has answered: seconds since the kernel started. Looks five times a second and starts no
 * process: whoever waits in another way takes of the one processor what is to be measured.
 */
const watch = `#!/bin/bash
mkfifo /run/answered /run/never
exec 4<>/run/never
for p in {${port(0)}..${port(count - 1)}}; do
  until { : 3<>/dev/tcp/127.0.0.1/$p; } 2>/dev/null; do read -t 0.2 -u 4; done
done
read -r up _ </proc/uptime
echo "$up" >/run/answered
`;

const watchUnit = `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/local/bin/watch-ports
[Install]
WantedBy=sysinit.target
`;

const quadlet = (image: string, at: number): string => `[Unit]
Description=${name(at)}
[Quadlet]
DefaultDependencies=false
[Container]
Image=${image}
ContainerName=quadlet-${name(at)}
Network=host
[Install]
WantedBy=multi-user.target
`;

const runUnit = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/run-all
[Install]
WantedBy=multi-user.target
`;

function manifest(directory: string): string {
  const targets = numbers.map(
    (at) =>
      `  - {service_name: ${name(at)}, source: "oci:${directory}/images:${name(at)}", version: "1", nsgroup: ten, network: {type: host}}`,
  );
  return `version: 1\nproduct: test\nhealth: {settle: 1s}\ntargets:\n${targets.join("\n")}\n`;
}

/** Makes exactly one of the three ways start at the next boot. */
async function choose(machine: Machine, way: Way): Promise<void> {
  const change = (on: boolean) => (on ? "unmask" : "mask");
  await machine.exec(
    [
      `systemctl ${change(way === "mos")} mosd.service mosd.socket mosd-status.socket 2>&1`,
      `mkdir -p /etc/containers/systemd; rm -f /etc/containers/systemd/*.container`,
      way === "quadlets" ? "cp /root/quadlets/* /etc/containers/systemd/" : "true",
      `systemctl ${way === "podman run" ? "enable" : "disable"} run-all.service`,
      "podman rm --all --force --time 0 >/dev/null 2>&1 || true",
    ].join("\n"),
    { timeoutMs: 240_000 },
  );
}

/** Starts the machine anew. @returns seconds from the boot transaction until all services answer */
async function untilAnswered(machine: Machine): Promise<number> {
  await machine.reboot();
  const wait = "until [ -p /run/answered ]; do sleep 1; done; cat /run/answered";
  const answered = Number((await machine.exec(wait, { timeoutMs: 300_000 })).stdout);
  const show = ["systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"];
  return answered - Number((await machine.exec(show)).stdout) / 1e6;
}

interface Cost {
  /** Processes, and bytes of them that belong to nobody else, of all control groups with services in them. */
  readonly processes: number;
  readonly memory: number;
  /** Of mos itself. */
  readonly own: number;
}

async function costOf(machine: Machine): Promise<Cost> {
  // The agent leaves by itself when nobody has asked it anything for a while.
  await machine.waitFor(
    "the agent's end",
    async () =>
      (await machine.exec("pgrep -c -x mosd", { accept: "any" })).stdout.trim() === "0" ? true : undefined,
    120_000,
  );
  const script = `own=$(pgrep -c -x 'mos|mosd|mosctl' || true)
pids=$(pgrep -x 'conmon|serve|busybox|httpd|catatonit|podman' || true); n=0; kb=0
for p in $pids; do
  pss=$(awk '/^Pss:/ {print $2}' /proc/$p/smaps_rollup 2>/dev/null) || continue
  n=$((n+1)); kb=$((kb+\${pss:-0}))
done
echo "$n $((kb*1024)) $own"`;
  const [processes = 0, memory = 0, own = 0] = (await machine.exec(script)).stdout
    .trim()
    .split(" ")
    .map(Number);
  return { processes, memory, own };
}

async function prepare(machine: Machine, network: Network, publisher: Publisher): Promise<void> {
  for (const at of numbers)
    await tarImage(publisher.directory, name(at), {
      files: { "bin/service": `#!/bin/sh\nexec /bin/serve ${port(at)}\n`, "www/index.html": `${at}\n` },
      entrypoint: "/bin/service",
    });
  await machine.exec(["mkdir", "-p", "/etc/mos", "/root/quadlets"]);
  await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa(), 0o644);
  const reference = await publisher.publish(manifest(publisher.directory), "ten");
  await machine.exec(["mosctl", "update", reference], { timeoutMs: 600_000 });
  const images = numbers.map((at) => `${publisher.authority}/plain/${name(at)}:1`);
  for (const [at, image] of images.entries()) {
    const from = `oci:${join(publisher.directory, "images")}:${name(at)}`;
    const copy = [
      "skopeo",
      "--insecure-policy",
      "copy",
      "--dest-tls-verify=false",
      from,
      `docker://${image}`,
    ];
    const [program, ...args] = network.command(copy);
    await run(program, args);
    await machine.exec(["podman", "pull", "--quiet", "--tls-verify=false", image], { timeoutMs: 240_000 });
    await machine.putFile(`/root/quadlets/${name(at)}.container`, Buffer.from(quadlet(image, at)), 0o644);
  }
  const runAll = images.map(
    (image, at) => `podman run --detach --name run-${name(at)} --network host ${image}`,
  );
  await machine.putFile(
    "/usr/local/bin/run-all",
    Buffer.from(`#!/bin/bash\npodman rm --all --force --time 0\n${runAll.join("\n")}\n`),
    0o755,
  );
  await machine.putFile("/etc/systemd/system/run-all.service", Buffer.from(runUnit), 0o644);
  await machine.putFile("/usr/local/bin/watch-ports", Buffer.from(watch), 0o755);
  await machine.putFile("/etc/systemd/system/watch-ports.service", Buffer.from(watchUnit), 0o644);
  await machine.exec("systemctl enable watch-ports.service");
}

export async function services({ mos }: { readonly mos: string }): Promise<Subject> {
  await using device = await bootDevice("bench-services", { memoryMiB: 2048 });
  const { machine, network } = device;
  await using publisher = await Publisher.create(network, mos);
  await publisher.makeKeys();
  await prepare(machine, network, publisher);
  const ways: readonly Way[] = ["mos", "quadlets", "podman run"];
  const times = new Map<Way, number[]>(ways.map((way) => [way, []]));
  const costs = new Map<Way, Cost>();
  for (let i = 0; i < boots; i++)
    for (const way of ways) {
      await choose(machine, way);
      times.get(way)?.push(await untilAnswered(machine));
      if (i === 0) costs.set(way, await costOf(machine));
    }
  const rows = ways.map((way) => {
    const cost = costs.get(way) ?? { processes: 0, memory: 0, own: 0 };
    return [
      way,
      seconds(figure(times.get(way) ?? [])),
      (cost.processes / count).toFixed(1),
      `${(cost.memory / count / 1024 ** 2).toFixed(1)} MiB`,
      `${cost.own}`,
    ];
  });
  return {
    title: `Ten services at a boot (${boots} boots each in turn, a guest with a kernel in user mode)`,
    headings: [
      "started by",
      "s until all answer",
      "processes a service",
      "memory a service",
      "processes of mos",
    ],
    rows,
  };
}
