// Fifty services with a hundred layers on one device: they start, and each costs what the first ten cost. Takes a quarter of
// an hour, so it runs when it is asked for: MOS_TEST_MANY=1.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tarImage } from "./example-services.ts";
import { bootDevice } from "./harness.ts";
import { Publisher } from "./publisher.ts";

const isAsked = process.env["MOS_TEST_MANY"] === "1";
const all = 50;
const some = 10;

let device: Awaited<ReturnType<typeof bootDevice>>;
let publisher: Publisher;

const port = (at: number): number => 9000 + at;
const name = (at: number): string => `s${at}`;

function manifest(count: number, from: number): string {
  const targets = Array.from({ length: count }, (_, i) => {
    const image = `oci:${join(publisher.directory, `${from + i}`, "images")}:${name(from + i)}`;
    return `  - {service_name: ${name(from + i)}, source: "${image}", version: "1", nsgroup: many, network: {type: host}}`;
  });
  return `version: 1\nproduct: test\nhealth: {settle: 1s, timeout: 30m}\ntargets:\n${targets.join("\n")}\n`;
}

/** Applies a manifest. @returns seconds that it took */
async function update(reference: string): Promise<number> {
  const begun = performance.now();
  await device.machine.exec(["mosctl", "update", reference], { timeoutMs: 1_800_000 });
  return (performance.now() - begun) / 1000;
}

async function answering(from: number, count: number): Promise<string> {
  const script = `n=0; for p in {${port(from)}..${port(from + count - 1)}}; do (exec 3<>/dev/tcp/127.0.0.1/$p) && n=$((n+1)); done; echo $n`;
  return (await device.machine.exec(script, { timeoutMs: 120_000 })).stdout.trim();
}

beforeAll(async () => {
  if (!isAsked) return;
  device = await bootDevice("many", { memoryMiB: 3072 });
  publisher = await Publisher.trustedBy(device);
  // The deleted file has another name's content in each: no layer is like another.
  for (let at = 0; at < all + some; at++) {
    const directory = join(publisher.directory, `${at}`);
    await mkdir(directory);
    await tarImage(directory, name(at), {
      below: { "etc/number": `${at}\n` },
      files: { "bin/service": `#!/bin/sh\nexec /bin/serve ${port(at)}\n` },
      entrypoint: "/bin/service",
    });
  }
}, 900_000);

afterAll(async () => {
  await publisher?.[Symbol.asyncDispose]();
  await device?.[Symbol.asyncDispose]();
});

describe.runIf(isAsked)("fifty services with a hundred layers", () => {
  it("start, and each takes no longer than each of ten", { timeout: 3_600_000 }, async () => {
    const ten = await update(await publisher.publish(manifest(some, all), "ten"));
    expect(await answering(all, some)).toBe(`${some}`);
    const fifty = await update(await publisher.publish(manifest(all, 0), "fifty"));
    expect(await answering(0, all)).toBe(`${all}`);
    const { stdout } = await device.machine.exec("dmsetup ls --target verity | wc -l");
    expect(Number(stdout)).toBe(2 * all);
    const took = `ten services took ${ten.toFixed(1)} s, fifty ${fifty.toFixed(1)} s`;
    process.stderr.write(`${took}\n`);
    expect(fifty / all, took).toBeLessThan((2 * ten) / some);
  });
});
