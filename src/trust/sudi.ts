// Identities of devices in a keyset: for each machine of a project a key and a certificate under the SUDI CA, which
// `trust provision` puts into its TPM (KEYSETS/NAME/manifest/PROJECT/sudi/MACHINE/{cert.pem,privkey.pem}).
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import type { Certificate } from "./certificate.ts";
import { issue } from "./issue.ts";
import {
  createDirectory,
  directoriesIn,
  openProjectDirectory,
  readPair,
  readPart,
  writeKey,
} from "./keyset-files.ts";
import { deviceCa, deviceProfile, deviceSubject } from "./profiles.ts";

/** What ends up in a subject's serialNumber, where a space ends it: serial numbers of vendors and uuids. */
const machinePattern = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$/;

export interface DeviceIdentity {
  readonly machine: string;
  readonly path: string;
  readonly certificate: Certificate;
}

function checkMachine(machine: string): void {
  if (machinePattern.test(machine) && !machine.includes("..")) return;
  throw new MosError(
    "name-invalid",
    "cannot use this name for a machine: at most 63 letters, digits and . _ : -, beginning with a letter or digit",
    { about: machine },
  );
}

/**
 * Makes the identity of a machine.
 * @param machine its serial number or uuid; a new uuid when undefined
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-unknown`, `device-exists`, `key-invalid`
 */
export async function addDevice(
  root: string,
  keyset: string,
  project: string,
  machine: string = randomUUID(),
): Promise<DeviceIdentity> {
  checkMachine(machine);
  const { above, path: projectPath } = await openProjectDirectory(root, keyset, project);
  const product = (await readPart(join(projectPath, "uuid"))).trim();
  const path = join(projectPath, "sudi", machine);
  const taken = () =>
    new MosError("device-exists", `cannot make the identity of ${machine}: ${keyset}:${project} has one`, {
      about: path,
    });
  await createDirectory(path, taken, async (temporary) => {
    const issued = await issue({
      profile: deviceProfile(machine),
      organization: deviceSubject(product, machine),
      keyType: "rsa2048",
      now: new Date(),
      issuer: await readPair(join(above, deviceCa)),
    });
    await writeKey(temporary, issued, {});
  });
  const { certificate } = await readPair(path);
  return { machine, path, certificate };
}

/**
 * The machines of a project, sorted.
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-unknown`, and of a damaged identity `key-invalid`,
 * `file-unreadable`
 */
export async function listDevices(
  root: string,
  keyset: string,
  project: string,
): Promise<readonly DeviceIdentity[]> {
  const { path } = await openProjectDirectory(root, keyset, project);
  const machines = (await directoriesIn(join(path, "sudi"))) ?? [];
  return await Promise.all(
    machines.map(async (machine) => {
      const directory = join(path, "sudi", machine);
      return { machine, path: directory, certificate: (await readPair(directory)).certificate };
    }),
  );
}
