// The list of a signed set: every path with its type, mode, owner and digest, where they belong, and which release of
// them this is. Pure.
import * as z from "zod";
import { linkLeadsInside } from "../archives/links.ts";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { audienceSchema } from "./audience.ts";

/** The list, in the top directory of a set, and its signature. */
export const manifestName = ".mos-set.json";
export const signatureName = `${manifestName}.sig`;
/** Comes before {@link manifestName} in what is signed, so that no other signature of a key will do. */
export const signedPrefix = "mos-set/v1";

/** Container images of an app, as an OCI image layout: carried along with a set, and not installed as files. */
export const imagesName = ".mos-images";

/** As much as {@link maxEntries} need (bytes). */
export const maxManifest = 64 * 1024 * 1024;
export const maxEntries = 100_000;
/** PATH_MAX and NAME_MAX of <linux/limits.h>, bytes. */
const pathMax = 4096;
const nameMax = 255;
const maxDepth = 64;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const control = /[\x00-\x1f\x7f]/;

function isName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && Buffer.byteLength(name) <= nameMax;
}

/** A path below the destination: its names, none of which leads elsewhere. */
function isPath(path: string): boolean {
  const names = path.split("/");
  const isOurs =
    names[0]?.startsWith(stagePrefix) === true || path === manifestName || path === signatureName;
  if (isOurs || names.length > maxDepth || Buffer.byteLength(path) > pathMax / 2) return false;
  return path.isWellFormed() && !control.test(path) && names.every(isName);
}

/** Names in the destination of what is being installed. */
export const stagePrefix = ".mos-set-";

const pathSchema = z.string().refine(isPath, "is no path below the destination");
const modeSchema = z.string().regex(/^0[0-7]{3}$/, "is no mode such as 0644");
/** uid_t, without the one that means none. */
const idSchema = z.int().min(0).max(0xfffffffe);
const owned = { mode: modeSchema, uid: idSchema, gid: idSchema };

const entrySchema = z.discriminatedUnion("type", [
  z.strictObject({ path: pathSchema, type: z.literal("directory"), ...owned }),
  z.strictObject({
    path: pathSchema,
    type: z.literal("file"),
    ...owned,
    size: z.int().min(0),
    sha512: z.string().regex(/^[0-9a-f]{128}$/, "is no SHA-512 in hexadecimal digits"),
  }),
  z.strictObject({
    path: pathSchema,
    type: z.literal("symlink"),
    target: z
      .string()
      .min(1)
      .max(pathMax / 4)
      .refine((target) => !control.test(target) && target.isWellFormed()),
  }),
]);

export const entriesSchema = z.array(entrySchema).max(maxEntries);

export const setNameSchema = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "is no name of a set");
export const serialSchema = z.int().min(1);
export const destinationSchema = z
  .string()
  .refine(
    (path) => path.startsWith("/") && isPath(path.slice(1)),
    "is no absolute path without “.”, “..” and repeated “/”",
  );

/** What podman knows an image by: SHA-256 of its configuration, which names its layers. */
const imageSchema = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{64}$/, "is no id of an image"),
  /** What its publisher calls it; for people. */
  name: z
    .string()
    .min(1)
    .max(512)
    .refine((name) => !control.test(name), "has control characters"),
});

const appVersionSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$/, "is no version: letters, digits and . _ + ~ -");

/** What makes an app of a set. */
export const appSchema = z.strictObject({
  version: appVersionSchema,
  /** The images that its quadlets name by id. */
  images: z.array(imageSchema).max(100),
  /** Its list was made on the device, of an archive that had a signature and no list. Never in a list that is signed. */
  unlisted: z.literal(true).optional(),
});
export type App = z.infer<typeof appSchema>;
export type AppImage = App["images"][number];

const manifestSchema = z.strictObject({
  type: z.literal("mos.signed-set"),
  version: z.literal(1),
  name: setNameSchema,
  serial: serialSchema,
  destination: destinationSchema,
  /** For whom it is; absent for a set that is in no levels. */
  for: audienceSchema.optional(),
  entries: entriesSchema,
  app: appSchema.optional(),
  /** What is verified with the set and not installed as files. */
  carried: entriesSchema.optional(),
});

export type SetManifest = z.infer<typeof manifestSchema>;
export type SetEntry = z.infer<typeof entrySchema>;

/** The directory that a path is in; "" for the destination itself. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** Whether a path is of what is carried along. */
export function isCarried(path: string): boolean {
  return path === imagesName || path.startsWith(`${imagesName}/`);
}

/** What is carried is there for the images of an app, and in its own directory. */
function carriedProblems({ entries, carried = [], app, for: audience }: SetManifest): readonly string[] {
  const problems = entries
    .filter(({ path }) => isCarried(path))
    .map(({ path }) => `${JSON.stringify(path)} is listed as a file to be installed`);
  for (const { path, type } of carried) {
    if (!isCarried(path) || type === "symlink")
      problems.push(`${JSON.stringify(path)} cannot be carried along`);
  }
  if (app !== undefined && audience !== undefined)
    problems.push("an app is for every device that installs it");
  if (carried.length > 0 && (app?.images.length ?? 0) === 0)
    problems.push("images are carried, and none is named");
  return problems;
}

/** What the schema cannot say: sorted, each path once, below listed directories, and links among themselves. */
function problemsOf(entries: readonly SetEntry[]): readonly string[] {
  const kinds = new Map(entries.map((entry) => [entry.path, entry]));
  const problems: string[] = [];
  for (const [i, entry] of entries.entries()) {
    const before = entries[i - 1];
    if (before !== undefined && before.path >= entry.path) {
      problems.push(`${JSON.stringify(entry.path)} is not in its place: paths are sorted, and there once`);
    }
    const parent = parentOf(entry.path);
    if (parent !== "" && kinds.get(parent)?.type !== "directory") {
      problems.push(`${JSON.stringify(entry.path)} is in a directory that is not listed`);
    }
    if (entry.type === "symlink" && !linkLeadsInside(entry.path, kinds)) {
      problems.push(
        `the link ${JSON.stringify(entry.path)} leads to ${JSON.stringify(entry.target)}, which is not of the set`,
      );
    }
  }
  return problems;
}

function invalid(problems: readonly string[]): MosError {
  return new MosError("set-invalid", "cannot use the list of a signed set", {
    problems: problems.slice(0, 20),
  });
}

/** Reads a list whose signature was checked. @throws MosError `set-invalid` */
export function parseSetManifest(bytes: Uint8Array): SetManifest {
  let json: unknown;
  try {
    json = parseJson(bytes, manifestName);
  } catch (error) {
    throw invalid([error instanceof Error ? error.message : String(error)]);
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    throw invalid(parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`));
  }
  const { entries, carried = [] } = parsed.data;
  const problems = [...problemsOf(entries), ...problemsOf(carried), ...carriedProblems(parsed.data)];
  if (problems.length > 0) throw invalid(problems);
  return parsed.data;
}

/** The bytes that are signed. @throws MosError `set-invalid` for what {@link parseSetManifest} would refuse */
export function writeSetManifest(manifest: SetManifest): Buffer {
  const bytes = Buffer.from(`${JSON.stringify(manifest)}\n`);
  parseSetManifest(bytes);
  return bytes;
}
