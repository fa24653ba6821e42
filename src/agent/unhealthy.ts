// What podman has found of a service that it asks how it is: it goes on asking after the start, while systemd knows only that
// the service runs. Read from where podman keeps it, because podman cannot run within the agent's own unit.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { payloadContainer } from "./observe.ts";

/** Where podman keeps what lasts as long as a container runs (containers-storage.conf(5), runroot). */
const runRoot = "/run/containers/storage";
/** Characters of podman's record of its last attempts: five, with an output of 500 characters each. */
const longestRecord = 256 * 1024;

/** podman-inspect(1), State.Health; what else is in it is podman's. */
const recordSchema = z.object({ Status: z.string() });

/** What podman writes beside a container's directory; undefined for one that is not asked. */
async function readRecord(container: string): Promise<string | undefined> {
  const drivers = await readdir(runRoot).catch(() => []);
  for (const driver of drivers.filter((name) => name.endsWith("-containers"))) {
    const path = join(runRoot, driver, container, "healthcheck.log");
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return text.length > longestRecord ? undefined : text;
  }
  return undefined;
}

/**
 * Whether the check of a running service has failed as often as it may. A record that cannot be read says nothing: it may be
 * half written just now.
 * @param controlGroup of its unit
 */
export async function isUnhealthy(controlGroup: string): Promise<boolean> {
  const container = await payloadContainer(controlGroup);
  const text = container === undefined ? undefined : await readRecord(container);
  if (text === undefined) return false;
  try {
    return recordSchema.parse(JSON.parse(text)).Status === "unhealthy";
  } catch {
    return false;
  }
}
