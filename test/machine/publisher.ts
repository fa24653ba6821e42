// The publisher's side of a device under test: a keyset, a registry on the host's side of the guest's network, and
// the commands of the built executable, called as a user would call them.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Network } from "../../src/machine/network.ts";
import { type RunResult, run } from "../../src/system/process.ts";
import { buildUnderTest } from "../build-under-test.ts";
import type { Device } from "./harness.ts";

const port = 5000;

/** Debian's docker-registry, in the network namespace of one guest. */
class PublisherRegistry {
  private readonly network: Network;
  private readonly directory: string;
  private process: ChildProcess | undefined;

  constructor(network: Network, directory: string) {
    this.network = network;
    this.directory = directory;
  }

  async start(): Promise<void> {
    const config = join(this.directory, "registry.yml");
    const storage = join(this.directory, "registry");
    await writeFile(
      config,
      `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${storage}}}\nhttp: {addr: "${this.network.hostAddress}:${port}"}\n`,
    );
    const [program, ...args] = this.network.command(["docker-registry", "serve", config]);
    this.process = spawn(program, args, { stdio: "ignore" });
    const connect = `exec 3<>/dev/tcp/${this.network.hostAddress}/${port}`;
    const [bash, ...bashArgs] = this.network.command(["bash", "-c", connect]);
    for (let tries = 0; tries < 200; tries++) {
      if ((await run(bash, bashArgs, { accept: [0, 1] })).exitCode === 0) return;
      if (this.process.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("the publisher's registry does not answer");
  }

  async stop(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
}

/** Everything on the publisher's side. Dispose of it in the end. */
export class Publisher implements AsyncDisposable {
  readonly directory: string;
  readonly registry: PublisherRegistry;
  private readonly network: Network;
  private readonly executable: string;

  private constructor(network: Network, executable: string, directory: string) {
    this.network = network;
    this.executable = executable;
    this.directory = directory;
    this.registry = new PublisherRegistry(network, directory);
  }

  /** Makes a keyset `demo` with a project `zot`, and starts a registry at {@link authority}. */
  static async create(network: Network, executable: string): Promise<Publisher> {
    const publisher = new Publisher(network, executable, await mkdtemp(join(tmpdir(), "mos-publisher-")));
    await publisher.registry.start();
    return publisher;
  }

  /** The same with keys, and of the build under test; the device trusts it. */
  static async trustedBy({ machine, network }: Device): Promise<Publisher> {
    const publisher = await Publisher.create(network, (await buildUnderTest()).executable);
    await publisher.makeKeys();
    await machine.exec(["mkdir", "-p", "/etc/mos"]);
    await machine.putFile("/etc/mos/manifestCA.pem", await publisher.manifestCa(), 0o644);
    return publisher;
  }

  get authority(): string {
    return `${this.network.hostAddress}:${port}`;
  }

  /** Runs one of the names of the executable on the host's side of the network. */
  async mos(name: "mosb" | "mosctl" | "trust", ...args: string[]): Promise<RunResult> {
    const [program, ...rest] = this.network.command([this.executable, name, ...args]);
    return await run(program, rest, {
      timeoutMs: 300_000,
      env: { MOS_KEYSETS: join(this.directory, "keys") },
    });
  }

  async makeKeys(): Promise<void> {
    await this.mos("trust", "keyset", "add", "demo");
    await this.mos("trust", "project", "add", "demo", "zot");
  }

  /** The certificate that devices trust. */
  async manifestCa(): Promise<Uint8Array> {
    return await readFile(join(this.directory, "keys/demo/manifest-ca/cert.pem"));
  }

  /** Publishes a manifest and returns what a device is told to update to. */
  async publish(yaml: string, tag: string, ...options: string[]): Promise<string> {
    const file = join(this.directory, `${tag}.yaml`);
    await writeFile(file, yaml);
    const name = `machine/install:${tag}`;
    const repo = `http://${this.authority}`;
    await this.mos(
      "mosb",
      "manifest",
      "publish",
      "--project",
      "demo:zot",
      "--repo",
      repo,
      "--name",
      name,
      ...options,
      file,
    );
    return `${repo}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.registry.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}
