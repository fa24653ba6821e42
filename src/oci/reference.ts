// References to images and artifacts as people write them (OCI distribution specification 1.1, "Pulling
// manifests": the grammar of names, tags and digests). Pure: text in, value out, nothing is looked up.
import { hostOf, isLoopbackHost, parseAuthority, refuse, shown } from "./authority.ts";
import { isDigest } from "./digest.ts";

export type Scheme = "http" | "https";

/** A repository of a registry, and a tag or digest in it. */
export interface RegistryReference {
  readonly kind: "registry";
  readonly scheme: Scheme;
  /** `host` or `host:port`, in lower case; an IPv6 address is in brackets. */
  readonly authority: string;
  readonly repository: string;
  /** Tag, or digest with its `sha256:`. */
  readonly reference: string;
}

/** An OCI image layout on disk, and a tag or digest in it. */
interface LayoutReference {
  readonly kind: "oci";
  readonly directory: string;
  readonly reference: string;
}

/** The reference of an archive whose only tag is meant; no tag is like it. */
export const onlyTag = "";

/** A tar archive of an OCI image layout, and a tag or digest in it, or `onlyTag`. */
interface ArchiveReference {
  readonly kind: "oci-archive";
  readonly file: string;
  readonly reference: string;
}

export type Reference = RegistryReference | LayoutReference | ArchiveReference;

/** Where a registry, or a part of one, is: repositories are below it. */
export interface RegistryBase {
  readonly scheme: Scheme;
  readonly authority: string;
  /** What comes before each repository's name, `""` or with its `/` at the end. */
  readonly prefix: string;
}

// Distribution specification 1.1: <name> is of such components joined by "/"; <reference> as a tag.
const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Registries and clients refuse longer names (distribution specification, note under "Pulling manifests"). */
const maxRepository = 255;
/** PATH_MAX of Linux; no reference is longer than a path can be, plus its tag or digest. */
const maxDirectory = 4095;
const maxText = maxDirectory + 512;

function refuseControls(text: string): void {
  if (text.length > maxText) refuse(text, `it has ${text.length} characters; the limit is ${maxText}`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
  if (/[\u0000-\u001f\u007f]/.test(text)) refuse(text, "it has control characters");
}

/** Plain http is the default only for what cannot leave this machine. */
function defaultScheme(authority: string): Scheme {
  return isLoopbackHost(hostOf(authority)) ? "http" : "https";
}

/** Whether the first part of a reference can only be a host; `alpine/git:1` means another registry's default. */
function looksLikeHost(authority: string): boolean {
  return /[.:]/.test(authority) || authority === "localhost";
}

function checkRepository(repository: string, text: string): void {
  if (repository === "") refuse(text, "it has no path between the host and the tag");
  if (repository.length > maxRepository) {
    refuse(text, `the path is longer than ${maxRepository} characters`);
  }
  for (const part of repository.split("/")) {
    if (component.test(part)) continue;
    refuse(
      text,
      `the path has the part ${shown(part)}, which a repository name cannot have`,
      "A path is of lower-case letters and digits, with '.', '_', '__' or '-' between them, and '/'.",
    );
  }
}

const writeTag = "Write :TAG or @sha256:HEX at its end; there is no default tag.";

/** Splits `REST:TAG` or `REST@DIGEST`. */
function splitReference(rest: string, text: string): { readonly path: string; readonly reference: string } {
  const at = rest.lastIndexOf("@sha256:");
  if (at >= 0) {
    const digest = rest.slice(at + 1);
    if (isDigest(digest)) return { path: rest.slice(0, at), reference: digest };
  }
  const colon = rest.lastIndexOf(":");
  if (colon < 0) {
    if (rest.includes("@")) refuse(text, "after '@' there must be sha256: and 64 lower-case hex digits");
    refuse(text, "it has no tag and no digest", writeTag);
  }
  if (at >= 0 && colon === at + "@sha256".length) {
    refuse(text, "after '@' there must be sha256: and 64 lower-case hex digits");
  }
  const tag = rest.slice(colon + 1);
  if (tag === "" || tag.includes("/")) refuse(text, "it has no tag and no digest", writeTag);
  if (!tagPattern.test(tag)) {
    refuse(
      text,
      `the tag ${shown(tag)} is not valid`,
      "A tag has at most 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'.",
    );
  }
  return { path: rest.slice(0, colon), reference: tag };
}

function parseLayoutReference(text: string): LayoutReference {
  const { path: directory, reference } = splitReference(text.slice("oci:".length), text);
  if (directory === "") refuse(text, "it names no directory");
  if (directory.length > maxDirectory)
    refuse(text, `the directory is longer than ${maxDirectory} characters`);
  return { kind: "oci", directory, reference };
}

const archivePrefix = "oci-archive:";

/** Without a tag where what follows the last `:` cannot be one; a file's name may have colons itself. */
function parseArchiveReference(text: string): ArchiveReference {
  const rest = text.slice(archivePrefix.length);
  const isNamed = rest.includes("@") || rest.lastIndexOf(":") > rest.lastIndexOf("/");
  const { path: file, reference } = isNamed ? splitReference(rest, text) : { path: rest, reference: onlyTag };
  if (file === "") refuse(text, "it names no file");
  if (file.length > maxDirectory) refuse(text, `the path is longer than ${maxDirectory} characters`);
  return { kind: "oci-archive", file, reference };
}

const prefix = /^(docker|http|https):\/\//;

/** Splits the optional scheme off; `docker://` says no more than that it is a registry. */
function splitScheme(text: string): { readonly scheme: Scheme | undefined; readonly rest: string } {
  const found = prefix.exec(text);
  if (found === null) {
    const other = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
    if (other !== null) refuse(text, `it begins with ${shown(other[0])}, which is no registry and no layout`);
    return { scheme: undefined, rest: text };
  }
  const rest = text.slice(found[0].length);
  return { scheme: found[1] === "http" || found[1] === "https" ? found[1] : undefined, rest };
}

function registryReference(
  scheme: Scheme | undefined,
  given: string,
  path: string,
  reference: string,
  text: string,
): RegistryReference {
  const authority = parseAuthority(given, text);
  if (scheme === undefined && !looksLikeHost(authority)) {
    refuse(
      text,
      `${shown(given)} at its beginning does not look like a registry's host`,
      "Write the registry's host name or HOST:PORT first; no registry is assumed.",
    );
  }
  checkRepository(path, text);
  return {
    kind: "registry",
    scheme: scheme ?? defaultScheme(authority),
    authority,
    repository: path,
    reference,
  };
}

/**
 * Parses `[docker://|http://|https://]HOST[:PORT]/PATH:TAG`, the same with `@sha256:HEX`, `oci:DIR:TAG`,
 * `oci:DIR@sha256:HEX`, and `oci-archive:FILE[:TAG]`, also with `@sha256:HEX`. Without an explicit scheme it is https, and http for loopback hosts.
 * @throws MosError `reference-invalid`, saying which part is wrong
 */
export function parseReference(text: string): Reference {
  refuseControls(text);
  if (text.startsWith("oci:")) return parseLayoutReference(text);
  if (text.startsWith(archivePrefix)) return parseArchiveReference(text);
  const { scheme, rest } = splitScheme(text);
  const slash = rest.indexOf("/");
  if (slash < 0) refuse(text, "it has no '/' after the registry's host");
  const { path, reference } = splitReference(rest.slice(slash + 1), text);
  return registryReference(scheme, rest.slice(0, slash), path, reference, text);
}

/** Splits `[http://|https://]HOST[:PORT][/PATH]`. */
function splitBase(text: string): {
  readonly scheme: Scheme | undefined;
  readonly host: string;
  readonly path: string;
} {
  refuseControls(text);
  const { scheme, rest } = splitScheme(text);
  const slash = rest.indexOf("/");
  const path = slash < 0 ? "" : rest.slice(slash + 1).replace(/\/$/, "");
  if (path !== "") checkRepository(path, text);
  return { scheme, host: slash < 0 ? rest : rest.slice(0, slash), path };
}

/**
 * Where `mosb manifest publish --repo REPO --name NAME` publishes.
 * @param repo `[http://|https://]HOST[:PORT]`, with an optional path that NAME's path is put behind
 * @param name `PATH:TAG`
 * @throws MosError `reference-invalid`
 */
export function parseDestination(repo: string, name: string): RegistryReference {
  refuseControls(name);
  const { scheme, host, path: before } = splitBase(repo);
  const { path, reference } = splitReference(name, name);
  if (isDigest(reference)) {
    refuse(name, "what is published gets a tag, it cannot be given a digest", "Write PATH:TAG.");
  }
  checkRepository(path, name);
  return registryReference(scheme, host, before === "" ? path : `${before}/${path}`, reference, repo);
}

/**
 * A place with the repositories of another registry: `[http://|https://]HOST[:PORT][/PATH]`.
 * @throws MosError `reference-invalid`
 */
export function parseBase(text: string): RegistryBase {
  const { scheme, host, path } = splitBase(text);
  const authority = parseAuthority(host, text);
  return { scheme: scheme ?? defaultScheme(authority), authority, prefix: path === "" ? "" : `${path}/` };
}

/** `HOST` or `HOST:PORT` as references have it after parsing. @throws MosError `reference-invalid` */
export function parseHost(text: string): string {
  refuseControls(text);
  return parseAuthority(text, text);
}

/** The shortest text from which parseReference makes the same reference. */
export function formatReference(reference: Reference): string {
  const tag = reference.reference;
  const end = tag === onlyTag ? "" : isDigest(tag) ? `@${tag}` : `:${tag}`;
  if (reference.kind === "oci-archive") return `${archivePrefix}${reference.file}${end}`;
  if (reference.kind === "oci") return `oci:${reference.directory}${end}`;
  const { scheme, authority, repository } = reference;
  const isDefault = scheme === defaultScheme(authority) && looksLikeHost(authority);
  return `${isDefault ? "" : `${scheme}://`}${authority}/${repository}${end}`;
}
