// ./dev shell: a guest with the package installed, and commands typed to it one line at a time. It ends with its
// shell.
import { createInterface } from "node:readline/promises";
import type { Machine } from "../src/machine/machine.ts";
import { Network } from "../src/machine/network.ts";
import { bootUml } from "../src/machine/uml.ts";
import { guestDisk } from "./guest-disk.ts";
import { buildPackage } from "./package.ts";
import { say, step } from "./say.ts";

/** Boots a guest and gives a prompt into it. */
export async function shell(): Promise<boolean> {
  const { packageFile } = await buildPackage();
  const guest = await guestDisk(packageFile);
  const network = await Network.create();
  try {
    await using machine = await step("booting a guest", () => bootUml({ ...guest, network }));
    say(`its console: ${machine.consoleLog}`);
    say(`its network: ip netns exec ${network.name} curl http://${network.guestAddress}:PORT`);
    await interact(machine);
    return true;
  } finally {
    await network.remove();
  }
}

/** Runs each line of the terminal in a guest as a bash script, until `exit` or the end of input. */
export async function interact(machine: Machine): Promise<void> {
  say("each line is run by bash in a process of its own; exit ends the guest");
  const terminal = createInterface({ input: process.stdin, output: process.stderr, prompt: "device# " });
  let closed = false;
  terminal.once("close", () => {
    closed = true;
  });
  terminal.prompt();
  for await (const line of terminal) {
    if (line.trim() === "exit") break;
    try {
      const result = await machine.exec(["bash", "-c", line], { accept: "any", timeoutMs: 600_000 });
      process.stdout.write(result.stdout);
      process.stderr.write(result.stderr);
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
    }
    if (!closed) terminal.prompt();
  }
  terminal.close();
}
