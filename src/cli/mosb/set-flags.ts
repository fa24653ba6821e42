// What `mosb set` and `mosb app` have in common: their flags, and the key that signs.
import type { KeyObject } from "node:crypto";
import { MosError } from "../../errors/mos-error.ts";

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
