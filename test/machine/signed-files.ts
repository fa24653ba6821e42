// Signed quadlets on a device, installed by configurations of /etc/validator/boot.d: of the image, and of its state.
import { generateKeyPairSync } from "node:crypto";
import type { Machine } from "../../src/machine/machine.ts";

const config = (source: string): string =>
  `[install]\ndestination=/run/containers/systemd\nsources=${source}\nkey_dirs=/usr/lib/validator/keys\n`;

/** A volume: podman makes it, and no image is needed for that. */
export const volume = "[Volume]\n[Install]\nWantedBy=multi-user.target\n";

/** Where a device has what its image brings, and what is installed later. */
const sources = { image: "/usr/share/factory/quadlets", apps: "/var/quadlets" } as const;

/**
 * Puts keys, two configurations and signed quadlets on a device, and enables the service stage.
 * @param apps where the quadlets of the second lie now; tmpfiles.d(5) copies them from there where nothing is
 */
export async function putSignedFiles(machine: Machine, apps: string = sources.apps): Promise<void> {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  await machine.putFile("/run/secret.pem", privateKey.export({ type: "pkcs8", format: "pem" }), 0o600);
  await machine.putFile(
    "/usr/lib/validator/keys/fleet.pem",
    publicKey.export({ type: "spki", format: "pem" }),
  );
  await machine.putFile("/etc/validator/boot.d/10-image.conf", config(sources.image));
  await machine.putFile("/etc/validator/boot.d/20-apps.conf", config(sources.apps));
  await machine.putFile(`${sources.image}/image.volume`, volume);
  await machine.putFile(`${apps}/apps.volume`, volume);
  if (apps !== sources.apps) {
    await machine.putFile("/etc/tmpfiles.d/apps.conf", `C ${sources.apps} - - - - ${apps}\n`);
  }
  await machine.exec(`mos validator sign -r --key=/run/secret.pem ${sources.image} && \
mos validator sign -r --key=/run/secret.pem ${apps} && rm /run/secret.pem && \
systemctl add-wants basic.target mos-validator.service`);
}

/** Leaves the removal of a set as a power cut does: begun, and not done. */
export async function interruptRemoval(machine: Machine): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  await machine.putFile("/root/set.pem", privateKey.export({ type: "pkcs8", format: "pem" }), 0o600);
  await machine.putFile("/root/set.pub", publicKey.export({ type: "spki", format: "pem" }));
  await machine.putFile("/root/half/half.volume", volume);
  await machine.exec(`mosb set sign --key /root/set.pem --name half --serial 1 --destination /etc/containers/systemd \
/root/half && mosctl set install --key /root/set.pub /root/half && mkdir -m 700 /etc/containers/systemd/.mos-set-half`);
  const { stdout } = await machine.exec(["cat", "/var/lib/mos/sets/half.json"]);
  const ledger: object = JSON.parse(stdout) as object;
  const steps = [{ do: "remove", path: "half.volume", staged: "0" }];
  const journal = { version: 1, phase: "apply", trial: false, steps, ledger: { ...ledger, entries: [] } };
  await machine.putFile("/var/lib/mos/sets/half.journal.json", JSON.stringify(journal));
}

/** Where the label in level.volume says which level it is from. */
export const levelFile = "/etc/containers/systemd/level.volume";

const signLevel = (directory: string, serial: number, whom: string): string =>
  `mosb set sign --key /root/levels.pem --name fleet --serial ${serial} --destination /etc/containers/systemd ${whom} ${directory}`;

/** Puts levels of a set into the image: for everybody, a class and another machine; two more to be installed by hand. */
export async function putLevels(machine: Machine): Promise<void> {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  await machine.putFile("/root/levels.pem", privateKey.export({ type: "pkcs8", format: "pem" }), 0o600);
  await machine.putFile(
    "/usr/lib/validator/keys/levels.pem",
    publicKey.export({ type: "spki", format: "pem" }),
  );
  const levels = {
    "/usr/lib/mos/sets/fleet/everybody": "--everybody",
    "/usr/lib/mos/sets/fleet/kiosk": "--class kiosk",
    "/usr/lib/mos/sets/fleet/m2": "--host m2",
    "/root/m1": "--host m1",
    "/root/m2": "--host m2",
  };
  for (const [directory, whom] of Object.entries(levels)) {
    await machine.putFile(
      `${directory}/level.volume`,
      volume.replace("\n", `\nLabel=from=${whom.split(" ").at(-1)}\n`),
    );
  }
  await machine.putFile("/usr/lib/mos/sets/fleet/everybody/all.volume", volume);
  await machine.exec(
    Object.entries(levels)
      .map(([directory, whom]) => signLevel(directory, 2, whom))
      .join("\n"),
  );
}
