// Paths as the kernel has them: bytes, of any encoding. Held as strings with one character for each byte, so that they
// can be cut and compared like text and nothing is lost. The path rules of the validator format are here; pure.

declare const isBytes: unique symbol;

/** Any bytes, one character (U+0000 to U+00FF) for each. */
export type ByteText = string & { readonly [isBytes]: true };

function asByteText(latin1: string): ByteText {
  return latin1 as ByteText;
}

/** The bytes as they are. */
export function fromBytes(bytes: Uint8Array): ByteText {
  return asByteText(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1"));
}

/** Text as UTF-8. */
export function fromText(text: string): ByteText {
  return fromBytes(Buffer.from(text, "utf8"));
}

/** What goes to a system call or into a blob. */
export function toBytes(text: ByteText): Buffer {
  return Buffer.from(text, "latin1");
}

/** For a person: UTF-8, with what is none replaced. */
export function toText(text: ByteText): string {
  return Buffer.from(text, "latin1").toString("utf8");
}

/** One name below a directory. */
export function below(directory: ByteText, name: ByteText): ByteText {
  return asByteText(directory.endsWith("/") ? `${directory}${name}` : `${directory}/${name}`);
}

/** The signature's place: beside the file, whatever it is. */
export function signaturePath(path: ByteText): ByteText {
  return asByteText(`${path}.sig`);
}

/** Everything before the last name of an absolute canonical path. */
export function directoryOf(path: ByteText): ByteText {
  const end = path.lastIndexOf("/");
  return asByteText(end <= 0 ? "/" : path.slice(0, end));
}

/** The last name of a path. */
export function baseName(path: ByteText): ByteText {
  return asByteText(path.slice(path.lastIndexOf("/") + 1));
}

/**
 * Absolute, without `.`, `..` and repeated `/`; symbolic links are not looked at, so `..` removes the name before it.
 * Exactly two leading slashes stay two (POSIX.1-2017, 4.13), as GLib's g_canonicalize_filename has it.
 * @param base absolute; what a relative path is below
 */
export function canonical(path: ByteText, base: ByteText): ByteText {
  const absolute = path.startsWith("/") ? path : `${base}/${path}`;
  const names: string[] = [];
  for (const name of absolute.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  const root = /^\/\/(?!\/)/.test(absolute) ? "//" : "/";
  return asByteText(root + names.join("/"));
}

/** A prefix of signed names: canonical below `/`, and relative. */
export function canonicalPrefix(prefix: ByteText): ByteText {
  return asByteText(canonical(prefix, asByteText("/")).replace(/^\/+/, ""));
}

/**
 * What of a path is below a directory: "" for the directory itself, undefined for what is not inside. Names are
 * compared whole, and repeated slashes count as one; `.` and `..` are names like any other here.
 */
export function relativeTo(path: ByteText, directory: ByteText): ByteText | undefined {
  const names = path.split("/").filter((name) => name !== "");
  const outer = directory.split("/").filter((name) => name !== "");
  if (path.startsWith("/") !== directory.startsWith("/")) return undefined;
  if (outer.some((name, i) => names[i] !== name)) return undefined;
  return asByteText(names.slice(outer.length).join("/"));
}

/** The name under which a file is signed. @param prefix as {@link canonicalPrefix} or a configuration has it */
export function signedName(relative: ByteText, prefix: ByteText | undefined): ByteText {
  return prefix === undefined ? relative : asByteText(`${prefix}/${relative}`);
}
