// The agent's two sockets in a process of their own, for a device in a directory. Arguments: the device's root, and what
// is to be /run for mosctl. Nothing of vitest in here.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Operations } from "../../src/agent/running-operation.ts";
import { createApiServer } from "../../src/agent/server.ts";
import { contextIn } from "./device-fixture.ts";

const [root = "", run = ""] = process.argv.slice(2);
const operations = new Operations(() => undefined);
await mkdir(join(run, "mos"), { recursive: true });
for (const [name, file] of [
  ["control", "mosd.sock"],
  ["status", "status.sock"],
] as const) {
  const server = createApiServer(contextIn(root), operations, name, () => undefined);
  await new Promise<void>((resolve) => server.listen(join(run, "mos", file), resolve));
}
process.stdout.write("ready\n");
