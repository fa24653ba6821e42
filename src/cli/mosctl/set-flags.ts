// What `mosctl set` and `mosctl app` have in common: where sets are, the keys that count, and starting what they bring.
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { MosError } from "../../errors/mos-error.ts";
import type { Activation } from "../../signed-sets/activation.ts";
import type { SetPlaces } from "../../signed-sets/bring.ts";
import type { LevelDevice } from "../../signed-sets/merge-installed.ts";
import { levelPlaces, setPlaces } from "../../signed-sets/places.ts";
import { type JsonFlag, jsonFlag } from "../command.ts";

export const word = (input: string): string => input;

export interface PlaceFlags extends JsonFlag {
  readonly root?: string;
}

export const placeFlags = {
  root: {
    kind: "parsed",
    parse: word,
    brief: "Directory in which an image is mounted, instead of the running system",
    placeholder: "DIR",
    optional: true,
  },
  json: jsonFlag,
} as const;

export function placesOf({ root = "/" }: PlaceFlags): SetPlaces {
  return { root, state: join(root, setPlaces.state) };
}

export interface KeyFlags {
  readonly key?: readonly string[];
  readonly keyDir?: readonly string[];
}

export interface RemoveFlags extends PlaceFlags {
  readonly units?: boolean;
}

export const unitsFlag = {
  kind: "boolean",
  brief: "Stop, reload and start the units and quadlets of the set; go back when they do not run",
  optional: true,
  withNegated: false,
} as const;

export async function activationOf({ units, root }: RemoveFlags): Promise<Activation | undefined> {
  if (units !== true) return undefined;
  if (root !== undefined) {
    throw new MosError(
      "usage",
      "cannot start the units of an image that is not running: --units goes without --root",
    );
  }
  const [{ systemd }, { monotonicClock }, { defaultGate }] = await Promise.all([
    import("../../systemd/manager.ts"),
    import("../../system/monotonic.ts"),
    import("../../manifest/health-schema.ts"),
  ]);
  const { timeout, settle } = defaultGate;
  return { systemd, clock: monotonicClock, timeout, settle };
}

/**
 * What decides here which levels of a set count.
 * @throws MosError `usage` for an image that is not running, and for keys that a boot would not know; `set-undecided`,
 * `policy-invalid`, `product-mismatch`
 */
export async function levelDeviceOf({ root, key, keyDir }: PlaceFlags & KeyFlags): Promise<LevelDevice> {
  if (root !== undefined) {
    throw new MosError(
      "usage",
      "cannot install a level of a set into an image: which device it will be is not known",
      {
        hint: `Put the signed directory itself into the image, below ${levelPlaces.image}/NAME/: every boot looks there.`,
      },
    );
  }
  if (key !== undefined || keyDir !== undefined) {
    throw new MosError(
      "usage",
      "cannot use other keys for a level of a set: every boot verifies it with the device's own",
    );
  }
  const [{ deviceContext }, { levelIdentity }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/level-identity.ts"),
  ]);
  const identity = await levelIdentity(deviceContext());
  return { places: { ...setPlaces, ...levelPlaces }, keys: await keysOf({}), identity };
}

/** @throws MosError `signed-key-invalid` */
export async function keysOf({ key, keyDir }: KeyFlags): Promise<readonly KeyObject[]> {
  return (await import("../../signed-files/device-keys.ts")).deviceKeys(key, keyDir);
}

export const keyFlags = {
  key: {
    kind: "parsed",
    parse: word,
    brief: "Public key (Ed25519, PEM)",
    placeholder: "FILE",
    optional: true,
    variadic: true,
  },
  keyDir: {
    kind: "parsed",
    parse: word,
    brief: "Directory of public keys; without any key, /usr/lib/validator/keys and /etc/validator/keys",
    placeholder: "DIR",
    optional: true,
    variadic: true,
  },
} as const;
