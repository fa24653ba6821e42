// A device with ten services, one of which is another in the next manifest: what its update takes, for a test and for
// ./dev bench.
import type { Machine } from "../../src/machine/machine.ts";
import type { Publisher } from "./publisher.ts";

const port = (at: number): number => 9000 + at;
const changing = 3;

/** A manifest of ten services, in YAML. @param more lines at its top */
export function tenServices(root: string, version: string, more = "health: {settle: 1s}\n"): string {
  const services = Array.from(
    { length: 10 },
    (_, at) => `
  - service_name: s${at}
    source: "rootfs:${root}"
    image: {entrypoint: [/bin/serve, "${port(at)}"]}
    version: "${at === changing ? version : "1"}"
    nsgroup: ten
    network: {type: host}
    health: {tcp: {port: ${port(at)}}, interval: 1s}`,
  );
  return `version: 1\nproduct: test\n${more}targets:${services.join("")}\n`;
}

interface TenServices {
  readonly restarted: readonly string[];
  /** Services that did not change and run anew all the same. */
  readonly others: number;
  readonly seconds: number;
  /** Longest time in which the service that changed took no connection, milliseconds. */
  readonly downMs: number;
}

/** Applies the ten services, then the same with one changed. */
export async function updateOneOfTen(
  machine: Machine,
  publisher: Publisher,
  root: string,
): Promise<TenServices> {
  const update = async (reference: string): Promise<{ outcome?: string; restarted?: string[] }> => {
    const { stdout } = await machine.exec(["mosctl", "update", reference, "--json"], { timeoutMs: 240_000 });
    return JSON.parse(stdout) as { outcome?: string; restarted?: string[] };
  };
  const runs = async (): Promise<string[]> => {
    const units = Array.from({ length: 10 }, (_, at) => `mos-svc-s${at}.service`);
    const show = ["systemctl", "show", "--property=InvocationID", "--value", ...units];
    return (await machine.exec(show)).stdout.trim().split(/\n+/);
  };
  await update(await publisher.publish(tenServices(root, "1"), "ten-1"));
  const before = await runs();
  const next = await publisher.publish(tenServices(root, "2"), "ten-2");
  // Every 20 ms whether the port takes a connection; longest silence in between, in milliseconds.
  const watch = `rm -f /run/over; last=$EPOCHREALTIME; longest=0
while [ ! -e /run/over ]; do
  if (exec 3<>/dev/tcp/127.0.0.1/${port(changing)}) 2>/dev/null; then
    now=$EPOCHREALTIME; gap=$(( (\${now/./} - \${last/./}) / 1000 )); last=$now
    [ $gap -gt $longest ] && longest=$gap
  fi
  sleep 0.02
done
echo $longest`;
  const watching = machine.exec(["bash", "-c", watch], { timeoutMs: 240_000 });
  const begun = performance.now();
  const { restarted = [] } = await update(next);
  const seconds = (performance.now() - begun) / 1000;
  await machine.exec("touch /run/over");
  const downMs = Number((await watching).stdout.trim());
  const after = await runs();
  const others = after.filter((run, at) => at !== changing && run !== before[at]).length;
  return { restarted, others, seconds, downMs };
}
