// A network of one virtual machine and the host's side of it, in a network namespace of its own: nothing of it is
// visible outside, and two runs never meet. The guest's side is configured by guest-network.ts.
import { randomBytes } from "node:crypto";
import { run } from "../system/process.ts";
import { guestAddress, hostAddress, prefixLength } from "./guest-network.ts";
import { ownedName, sweep } from "./leftovers.ts";

const tap = "tap0";

/** The host's side: a namespace with one TAP device that a provider connects to the guest. */
export class Network {
  /** Name of the namespace, as `ip netns` knows it. */
  readonly name: string;
  /** The device that a provider attaches to. */
  readonly tap = tap;
  readonly hostAddress = hostAddress;
  readonly guestAddress = guestAddress;

  private constructor(name: string) {
    this.name = name;
  }

  /**
   * Makes the namespace and its devices; needs root. Namespaces of runs that died are removed on the way.
   * @throws MosError `program-failed`, `program-missing`
   */
  static async create(): Promise<Network> {
    await sweep(await namespaces(), (name) => run("ip", ["netns", "delete", name]).then(() => undefined));
    const network = new Network(ownedName(randomBytes(3).toString("hex")));
    await run("ip", ["netns", "add", network.name]);
    try {
      await network.ip("link", "set", "lo", "up");
      await network.ip("tuntap", "add", tap, "mode", "tap");
      await network.ip("link", "set", tap, "up");
      await network.setHost(true);
    } catch (error) {
      await network.remove();
      throw error;
    }
    return network;
  }

  /** The argument vector that runs a program on the host's side of this network. */
  command(argv: readonly string[]): [string, ...string[]] {
    return ["ip", "netns", "exec", this.name, ...argv];
  }

  /**
   * Lets the host's side answer, or go silent as if nobody were there. The link itself stays up: User-Mode Linux
   * cannot use a TAP device that was down when the guest began to.
   */
  async setHost(present: boolean): Promise<void> {
    await this.ip("address", present ? "add" : "delete", `${hostAddress}/${prefixLength}`, "dev", tap);
  }

  /** Whether a port of the guest can be connected to, asked from the host's side. */
  async canConnect(port: number): Promise<boolean> {
    const script = `exec 3<>/dev/tcp/${guestAddress}/${port}`;
    const [program, ...args] = this.command(["timeout", "2", "bash", "-c", script]);
    return (await run(program, args, { accept: [0, 1, 124] })).exitCode === 0;
  }

  /** Removes the namespace; whatever still runs in it keeps its sockets but is cut off from names. */
  async remove(): Promise<void> {
    await run("ip", ["netns", "delete", this.name]);
  }

  private async ip(...args: string[]): Promise<void> {
    await run("ip", ["-n", this.name, ...args]);
  }
}

async function namespaces(): Promise<string[]> {
  const { stdout } = await run("ip", ["netns", "list"]);
  return stdout.split("\n").map((line) => line.split(" ")[0] ?? "");
}
