// What `mosb set` and `mosb app` have in common: their flags, and the key that signs.
import type { KeyObject } from "node:crypto";
import { MosError } from "../../errors/mos-error.ts";
import type { Audience } from "../../signed-sets/audience.ts";

export const word = (input: string): string => input;

export function parseSerial(input: string): number {
  const serial = Number(input);
  if (/^[1-9][0-9]*$/.test(input) && Number.isSafeInteger(serial)) return serial;
  throw new SyntaxError("a serial is a whole number above 0");
}

export function parseOwner(input: string): readonly [number, number] {
  const [, uid, gid] = /^([0-9]{1,10}):([0-9]{1,10})$/.exec(input) ?? [];
  if (uid === undefined || gid === undefined) throw new SyntaxError("an owner is UID:GID, in numbers");
  return [Number(uid), Number(gid)];
}

/** For whom a set is: at most one of these. */
export interface AudienceFlags {
  readonly everybody?: boolean;
  readonly class?: readonly string[];
  readonly host?: string;
}

export const audienceFlags = {
  everybody: {
    kind: "boolean",
    brief: "It is the level for everybody of a set in levels",
    optional: true,
    withNegated: false,
  },
  class: {
    kind: "parsed",
    parse: word,
    brief: "It is a level for devices of this class, or of one of several",
    placeholder: "CLASS",
    optional: true,
    variadic: true,
  },
  host: {
    kind: "parsed",
    parse: word,
    brief: "It is the level for this machine: SN of its certificate, or machine of its policy",
    placeholder: "MACHINE",
    optional: true,
  },
} as const;

/** Undefined for a set that is in no levels. @throws MosError `usage` */
export function audienceOf({ everybody, class: classes = [], host }: AudienceFlags): Audience | undefined {
  const given = [everybody === true, classes.length > 0, host !== undefined].filter(Boolean);
  if (given.length > 1) {
    throw new MosError("usage", "cannot sign a set for several: one of --everybody, --class and --host");
  }
  if (everybody === true) return { who: "everybody" };
  if (host !== undefined) return { who: "machine", machine: host };
  return classes.length === 0 ? undefined : { who: "class", classes: [...new Set(classes)].sort() };
}

export const required = <T>(brief: string, placeholder: string, parse: (input: string) => T) =>
  ({ kind: "parsed", parse, brief, placeholder }) as const;

/** @throws MosError `signed-key-invalid` */
export async function signingKey(file: string): Promise<KeyObject> {
  const [{ loadPrivateKey }, { fromText }] = await Promise.all([
    import("../../signed-files/keys.ts"),
    import("../../signed-files/byte-path.ts"),
  ]);
  const report = {
    problem: (code: ConstructorParameters<typeof MosError>[0], message: string): never => {
      throw new MosError(code, `cannot use the key: ${message}`, { about: file });
    },
    info: (): void => undefined,
  };
  const key = loadPrivateKey(fromText(file), { cwd: fromText(process.cwd()), strict: true, report });
  if (key === undefined) throw new MosError("signed-key-invalid", "cannot use the key", { about: file });
  return key;
}
