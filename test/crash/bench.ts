// What a test file of this lane shares: a directory in memory, signers, a few tiny layers, and releases made of them.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import { update } from "../../src/agent/update.ts";
import type { Release } from "../../src/manifest/schema.ts";
import { makeSigners, packImage, type Signers } from "../integration/refusals-fixture.ts";
import type { Issued } from "../unit/trust/authority.ts";
import type { Device } from "./device.ts";
import { explore, type Scenario } from "./explore.ts";
import { type LayerFile, type Published, publishRelease, type Service } from "./releases.ts";

/** The same for all files of one run; MOS_TEST_SEED repeats a run. */
export const seed = Number(process.env["MOS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));

/** For whoever wants to repeat a run: vitest shows what a test prints. */
export function report(line: string): void {
  process.stdout.write(`${line}\n`);
}

export async function apply(
  device: Device,
  { reference }: Published,
  { retry }: { readonly retry: boolean } = { retry: false },
): Promise<unknown> {
  return await update(device, reference, { allowOlder: true, retry }, () => undefined);
}

export class CrashBench {
  readonly directory: string;
  readonly signers: Signers;
  /** Different states that were tried so far. */
  states = 0;
  private readonly packed = new Map<string, LayerFile>();
  private published = 0;

  constructor(directory: string, signers: Signers) {
    this.directory = directory;
    this.signers = signers;
  }

  /** A layer of this name, of so many KiB. */
  async layer(name: string, kilobytes = 1): Promise<LayerFile> {
    const known = this.packed.get(name);
    if (known !== undefined) return known;
    const { layer } = await packImage(this.directory, kilobytes, name);
    this.packed.set(name, layer);
    return layer;
  }

  /** A release of services, each of the layers of these names. */
  async publish(
    services: Readonly<Record<string, readonly string[]>>,
    release: Release,
    by: readonly Issued[] = [this.signers.project],
  ): Promise<Published> {
    const made: Service[] = [];
    for (const [service, layers] of Object.entries(services)) {
      const files: LayerFile[] = [];
      for (const name of layers) files.push(await this.layer(name));
      made.push([service, ...files]);
    }
    return await publishRelease(join(this.directory, `release-${++this.published}`), made, release, by);
  }

  /** Tries a scenario and says what was tried. Both its ends must have been met. */
  async survives(name: string, scenario: Scenario): Promise<void> {
    const start = performance.now();
    const found = await explore({ directory: this.directory, caPem: this.signers.ca.pem, seed }, scenario);
    this.states += found.states;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    report(`${name}: seed ${seed}, ${JSON.stringify(found)}, ${seconds} s`);
    if (scenario.before !== scenario.after) expect(found.old).toBeGreaterThan(0);
    expect(found.new).toBeGreaterThan(0);
  }
}

/** A bench for the tests of a file; it goes when they have ended. */
export function crashBench(): () => CrashBench {
  let bench: CrashBench | undefined;
  beforeAll(async () => {
    const directory = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "mos-crash-"));
    bench = new CrashBench(directory, await makeSigners());
  });
  afterAll(() => {
    if (bench !== undefined) rmSync(bench.directory, { recursive: true, force: true });
  });
  return () => {
    if (bench === undefined) throw new Error("used before the tests began");
    return bench;
  };
}
