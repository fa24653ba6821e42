// Documents that mos itself has written and reads again: JSON with a `version`. One that is damaged, and one that a
// newer mos has written (a root that fell back to the one before, say), are told apart: the second is whole.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "./json.ts";

const newer = z.looseObject({ version: z.int().min(2) });

/**
 * @param schema of version 1, the only one so far
 * @param hint what to do when it is damaged
 * @throws MosError `state-invalid` when it is damaged, `state-newer` when its version is not known here
 */
export function parseStateDocument<T>(
  bytes: Uint8Array,
  path: string,
  schema: z.ZodType<T>,
  hint?: string,
): T {
  const damaged = (why: string, cause?: unknown): MosError =>
    new MosError("state-invalid", `${path} is damaged: ${why}`, {
      about: path,
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  let json: unknown;
  try {
    json = parseJson(bytes, path);
  } catch (error) {
    throw damaged("it is not JSON", error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { data } = newer.safeParse(json);
  if (data === undefined) throw damaged(z.prettifyError(parsed.error));
  const message = `${path} was written by a newer mos: it has version ${data.version}, and this one knows version 1`;
  throw new MosError("state-newer", message, { about: path });
}
