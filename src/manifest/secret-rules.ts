// Rules about the secrets of services that concern several fields at once.
import { duplicates, type Problem } from "./problem.ts";
import type { ImportManifest, InstallManifest } from "./schema.ts";
import type { ImportSecret, Secret } from "./secret-schema.ts";

/** Where a container finds its secrets: systemd's Container Interface recommends this place. */
export const credentialsPath = "/run/host/credentials";

/** All violations, in either form of a manifest. */
export function secretProblems({ targets }: InstallManifest | ImportManifest): Problem[] {
  return targets.flatMap((target, i) => {
    if (target.secrets.length === 0) return [];
    const path = ["targets", i, "secrets"];
    const problems: Problem[] = [];
    if (target.service_type !== "container") {
      const message = `a target of type ${target.service_type} does not run, so it cannot have secrets`;
      problems.push({ path, message });
    }
    for (const [j, { dest }] of target.storage.entries()) {
      if (!`${dest}/`.startsWith(`${credentialsPath}/`)) continue;
      const message = `${dest} is where the service finds its secrets (${credentialsPath})`;
      problems.push({ path: ["targets", i, "storage", j, "dest"], message });
    }
    const names = target.secrets.map(({ name }, j) => ({
      ...{ key: name, path: [...path, j, "name"], owner: `secrets.${j}` },
    }));
    problems.push(...duplicates(names, (name, first) => `the name ${name} is already used by ${first}`));
    return [...problems, ...target.secrets.flatMap((secret, j) => recipients(secret, [...path, j]))];
  });
}

/** A secret is encrypted to each device once; in the form that a person writes it may not be encrypted yet. */
function recipients(secret: Secret | ImportSecret, path: readonly (string | number)[]): Problem[] {
  if ("data" in secret) return repeatedKeys(secret, path);
  const { file, recipients: files, encrypted } = secret;
  if ((file === undefined) === (encrypted === undefined) || (file === undefined) !== (files === undefined)) {
    const message = "must have either `file` and `recipients`, or `encrypted`";
    return [{ path, message }];
  }
  return encrypted === undefined ? [] : repeatedKeys(encrypted, [...path, "encrypted"]);
}

function repeatedKeys(
  { recipients: all }: Pick<Secret, "recipients">,
  path: readonly (string | number)[],
): Problem[] {
  const keys = all.map(({ key }, i) => ({
    ...{ key, path: [...path, "recipients", i, "key"], owner: `recipients.${i}` },
  }));
  return duplicates(keys, (_key, first) => `the device is already listed as ${first}`);
}
