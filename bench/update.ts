// What updates cost a device: one that changes nothing, one of one service out of ten, and the boot after one that failed.
// The first runs here; the others in a guest, where a kernel in user mode makes all processes slow.
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseManifestYaml } from "../src/manifest/manifest-yaml.ts";
import { openWritable } from "../src/oci/open.ts";
import { parseReference } from "../src/oci/reference.ts";
import { publish } from "../src/publish/publish.ts";
import { signerOf } from "../src/publish/sign.ts";
import { run } from "../src/system/process.ts";
import { openProject } from "../src/trust/keyset.ts";
import { startRegistry } from "../test/integration/registry-fixture.ts";
import { bootDevice } from "../test/machine/harness.ts";
import { Publisher } from "../test/machine/publisher.ts";
import { tenServices, updateOneOfTen } from "../test/machine/ten-services.ts";
import { busyboxRoot } from "../tools/roots.ts";
import { figure } from "./measure.ts";
import { type Bench, ms, node, type Subject } from "./subject.ts";

/** An update to what runs already. The keyset `bench:zot` is in `work`/keys. */
async function noUpdate({ work, children }: Bench): Promise<string[]> {
  const registry = await startRegistry();
  try {
    const root = join(work, "updated");
    await mkdir(join(root, "state"), { recursive: true });
    await cp(join(work, "keys/bench/manifest-ca/cert.pem"), join(root, "ca.pem"));
    const reference = `http://${registry.authority}/machine/install:1`;
    // Nothing runs here that could answer a probe.
    const yaml = tenServices(await busyboxRoot(), "1").replaceAll(/^ {4}health: .*$/gm, "");
    await publish({
      manifest: parseManifestYaml(yaml, "ten.yaml"),
      baseDirectory: work,
      signers: [signerOf(await openProject(join(work, "keys"), "bench:zot"), false)],
      destination: { ...openWritable(parseReference(reference)), tag: "1" },
      format: "squashfs",
      patchFrom: [],
      created: "2026-01-01T00:00:00Z",
      onStep: () => undefined,
    });
    const env = { NODE_COMPILE_CACHE: join(work, "compiled") };
    const update = async () =>
      // The executable carries compiled code along, too.
      JSON.parse((await run(node, [children, "update", root, reference], { env })).stdout) as {
        readonly outcome: string;
        readonly cpu: number;
        readonly startCpu: number;
      };
    const first = await update();
    if (first.outcome !== "updated") throw new Error(`the first update ended with ${first.outcome}`);
    const before = registry.answers();
    const answers: Awaited<ReturnType<typeof update>>[] = [];
    for (let i = 0; i < 11; i++) answers.push(await update());
    if (answers.some(({ outcome }) => outcome !== "unchanged")) throw new Error("something was updated");
    // The log is written after the answer; its last line may be on its way.
    const requests = Math.ceil((registry.answers() - before) / answers.length);
    const of = (key: "cpu" | "startCpu"): string => ms(figure(answers.map((answer) => answer[key])));
    return [
      `update to what runs already`,
      `${requests} request`,
      `${of("cpu")} ms CPU, and ${of("startCpu")} of start`,
    ];
  } finally {
    await registry.stop();
  }
}

/** Seconds from the kernel's start until all services of the generation were started. */
async function untilUp(machine: Awaited<ReturnType<typeof bootDevice>>["machine"]): Promise<number> {
  const show = ["systemctl", "show", "mos.target", "--property=ActiveEnterTimestampMonotonic", "--value"];
  const at = await machine.waitFor(
    "mos.target",
    async () => Number((await machine.exec(show)).stdout.trim()) || undefined,
    240_000,
  );
  return at / 1e6;
}

async function inGuest({ mos }: Bench): Promise<string[][]> {
  await using device = await bootDevice("bench");
  const { machine, network } = device;
  await using publisher = await Publisher.create(network, mos);
  await publisher.makeKeys();
  await machine.exec(["mkdir", "-p", "/etc/mos"]);
  await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa(), 0o644);
  const root = join(publisher.directory, "root");
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(root, "www/index.html"), "here\n");
  const { seconds, downMs, others } = await updateOneOfTen(machine, publisher, root);

  await machine.reboot();
  const usual = await untilUp(machine);
  const gate = "health: {settle: 300s, timeout: 600s, tries: 1}\n";
  const never = await publisher.publish(tenServices(root, "3", gate), "ten-3");
  await machine.exec(["systemd-run", "--quiet", "--unit=trial", "--collect", "mosctl", "update", never]);
  await machine.waitFor(
    "the trial",
    async () =>
      (await machine.exec("mosctl status --json", { accept: "any" })).stdout.includes('"trial"') || undefined,
    240_000,
  );
  await machine.powerCut();
  await machine.start();
  await machine.booted();
  const after = await untilUp(machine);
  const { stdout } = await machine.exec("mosctl status --json", { accept: "any" });
  if (!stdout.includes("generation-tries-exhausted")) throw new Error("the device did not go back");
  return [
    [
      "update of one service out of ten",
      `${others} others restarted`,
      `${seconds.toFixed(1)} s, down for ${downMs} ms`,
    ],
    ["boot until ten services were started", "as usual", `${usual.toFixed(1)} s`],
    ["the same, going back from a generation that failed", "", `${after.toFixed(1)} s`],
  ];
}

export async function updates(bench: Bench): Promise<Subject> {
  return {
    title: "Updates (the last three in a guest with a kernel in user mode)",
    headings: ["what", "how many", "time"],
    rows: [await noUpdate(bench), ...(await inGuest(bench))],
  };
}
