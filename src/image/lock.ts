// image.lock.json: exactly what an OS image was built from. With it beside the description a build either uses the
// same inputs or fails, so that the same image comes out of it later, and somebody else can check that.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { formatProblem, problemsOf } from "../manifest/install-json.ts";
import { type Json, parseJson } from "../system/json.ts";

const digestText = z.string().regex(/^sha256:[0-9a-f]{64}$/, "must be sha256: and 64 hex digits");

const packageSchema = z.strictObject({
  name: z.string().min(1).max(256),
  version: z.string().min(1).max(256),
  architecture: z.string().min(1).max(64),
  /** Of the .deb file, as the archive's verified index has it. */
  digest: digestText,
});

const lockSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is"),
  /** Seconds since 1970: the only time in the image. */
  epoch: z.int().min(0),
  /** The digest of an archive or a directory, or all packages. */
  root: z.union([
    z.strictObject({ digest: digestText }),
    z.strictObject({ packages: z.array(packageSchema).max(10_000) }),
  ]),
  /** Files, by their paths in the description. */
  files: z.record(z.string(), digestText),
  /** The manifest that comes with it. */
  services: digestText.optional(),
});

export type ImageLock = z.output<typeof lockSchema>;
export type LockedPackage = z.output<typeof packageSchema>;

/** @throws MosError `document-invalid` */
export function parseLock(bytes: Uint8Array, file: string): ImageLock {
  const result = lockSchema.safeParse(parseJson(bytes, file));
  if (result.success) return result.data;
  const problems = problemsOf(result.error).map(formatProblem);
  throw new MosError("document-invalid", `cannot use the lock ${file}: ${problems[0] ?? "it does not fit"}`, {
    about: file,
    problems,
    hint: "It is made by mosb image build; take it from where it is kept, or --update-lock.",
  });
}

/** The text that is kept; the same lock gives the same bytes. */
export function encodeLock({ version, epoch, root, files, services }: ImageLock): string {
  const sorted = Object.fromEntries(Object.entries(files).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const document: Json = {
    ...{ version, epoch },
    root: "digest" in root ? { digest: root.digest } : { packages: root.packages.map((one) => ({ ...one })) },
    files: sorted,
    ...(services === undefined ? {} : { services }),
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}

function rootLines({ root }: ImageLock): Map<string, string> {
  if ("digest" in root) return new Map([["the root", root.digest]]);
  const value = ({ version, digest }: LockedPackage): string => `${version} (${digest})`;
  return new Map(root.packages.map((one) => [`package ${one.name}:${one.architecture}`, value(one)]));
}

function lines(lock: ImageLock): Map<string, string> {
  const files = Object.entries(lock.files).map(([path, digest]) => [`file ${path}`, digest] as const);
  const services = lock.services === undefined ? [] : [["services", lock.services] as const];
  return new Map([...rootLines(lock), ...files, ...services]);
}

/**
 * Refuses inputs that are not those of the lock.
 * @param file the lock's, for messages
 * @throws MosError `image-lock-mismatch`, with every difference
 */
export function checkLock(locked: ImageLock, actual: ImageLock, file: string): void {
  const [before, now] = [lines(locked), lines(actual)];
  const problems = [...new Set([...before.keys(), ...now.keys()])].sort().flatMap((what) => {
    const [was, is] = [before.get(what), now.get(what)];
    return was === is ? [] : [`${what}: ${was ?? "not locked"} → ${is ?? "not there"}`];
  });
  if (problems.length === 0) return;
  throw new MosError(
    "image-lock-mismatch",
    `cannot build from inputs that are not those of ${file}: ${problems.length} differ`,
    { about: file, problems },
  );
}
