// What the benchmarks run in processes of their own, bundled as the executable is: `fetch`, `update`
// and `boot`.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadActive } from "../src/agent/active.ts";
import { type AgentContext, deviceContext } from "../src/agent/context.ts";
import { update } from "../src/agent/update.ts";
import { ensureIdMaps } from "../src/generation/idmaps.ts";
import { Layout } from "../src/oci/layout.ts";
import { parseManifest } from "../src/oci/model.ts";
import { openImage } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { groupsOf, renderUnits } from "../src/services/render.ts";
import type { ServiceManager } from "../src/systemd/manager.ts";
import { builtInPolicy } from "../src/trust/policy.ts";
import { impatientClock, memoryManager } from "../test/memory-manager.ts";

/** Fetches, verifies and stores an image as `mosctl update` does. */
async function fetchImage(reference: string, directory: string): Promise<void> {
  const parsed = parseReference(reference);
  const repository = openImage(parsed);
  const store = await Layout.create(directory);
  const fetched = await repository.manifest(parsed.reference);
  const image = parseManifest(fetched.bytes, reference);
  for (const blob of [image.config, ...image.layers]) await store.storeBlob(blob, repository);
  await store.putManifest(fetched.bytes, fetched.mediaType, "fetched");
}

/** The agent on a device in a directory. */
function staged(root: string): AgentContext {
  return {
    places: { state: join(root, "state"), run: join(root, "run") },
    unitDirectory: join(root, "units"),
    quadletDirectory: join(root, "quadlets"),
    withoutQuadlet: join(root, "without-quadlet"),
    networkDirectory: join(root, "networks"),
    trust: {
      ...deviceContext().trust,
      policies: [],
      builtIn: { ...builtInPolicy, anchors: [`file:${join(root, "ca.pem")}`] },
    },
    systemd: deviceContext().systemd,
    clock: deviceContext().clock,
    fetchSettings: [],
    updateSettings: [],
    machineId: "/etc/machine-id",
    buildTime: new Date(0),
    boot: { commandLine: "/nowhere", esp: [] },
    recovery: { device: "/nowhere", directory: "/nowhere", factory: "/nowhere" },
  };
}

/** An update of a staged device, whose services are up. Prints milliseconds. */
async function updateStaged(root: string, reference: string): Promise<void> {
  const startCpu = process.cpuUsage();
  const systemd: ServiceManager = {
    ...memoryManager(),
    showUnits: async (units) =>
      units.map((unit) => ({ Id: unit, LoadState: "loaded", ActiveState: "active", NRestarts: "0" })),
  };
  const context = { ...staged(root), systemd, clock: impatientClock() };
  const { outcome } = await update(context, reference, { allowOlder: false, retry: false }, () => undefined);
  const cpu = process.cpuUsage(startCpu);
  const milliseconds = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1000;
  const answer = { outcome, cpu: milliseconds(cpu), startCpu: milliseconds(startCpu) };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

/** The service stage of a boot up to where systemd takes over, on a staged device. Prints milliseconds. */
async function boot(root: string): Promise<void> {
  const start = performance.now();
  const startCpu = process.cpuUsage();
  const context = staged(root);
  const { loaded: current } = await loadActive(context);
  if (current === undefined || current.problems.length > 0)
    throw new Error("the staged generation does not verify");
  const verified = performance.now();
  const idmaps = await ensureIdMaps(context.places, groupsOf(current.manifest));
  const units = renderUnits({
    generation: current.number,
    manifest: current.manifest,
    images: current.images,
    idmaps,
    credentials: new Map(),
    places: context.places,
    podmanUnits: "by-quadlet",
  });
  const rendered = performance.now();
  mkdirSync(context.unitDirectory, { recursive: true });
  for (const { name, content } of units) writeFileSync(join(context.unitDirectory, name), content);
  const written = performance.now();
  const cpu = process.cpuUsage(startCpu);
  const answer = {
    start,
    verify: verified - start,
    render: rendered - verified,
    write: written - rendered,
    cpu: (cpu.user + cpu.system) / 1000,
    startCpu: (startCpu.user + startCpu.system) / 1000,
    units: units.length,
  };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

const [what = "", one = "", two = ""] = process.argv.slice(2);
if (what === "fetch") void fetchImage(one, two);
if (what === "update") void updateStaged(one, two);
if (what === "boot") void boot(one);
