// A program that fault-points.test.ts starts and that a fault ends: does one piece of an agent's work on a device in a
// directory. Arguments: the directory, `update` | `rollback` | `boot`, the reference of an update or the generation to go
// back to, units that fail.
import { rollback } from "../../src/agent/rollback.ts";
import { update } from "../../src/agent/update.ts";
import { contextIn } from "../integration/device-fixture.ts";
import { memoryManager } from "../memory-manager.ts";
import { recover } from "./device.ts";

/** What it does. */
export type AgentWork = "update" | "rollback" | "boot";

const [root = "", work = "", reference = "", ...failing] = process.argv.slice(2);
const systemd = memoryManager();
for (const unit of failing) systemd.failing.add(unit);
const device = { ...contextIn(root), systemd };
const quiet = (): void => undefined;
if (work === "update") await update(device, reference, { allowOlder: true, retry: false }, quiet);
if (work === "rollback") await rollback(device, Number(reference), quiet);
if (work === "boot") await recover(device);
