// install.json, byte for byte as the published encoder (Go's json.Marshal of its struct) writes it: fixed key
// order, no white space, `null` for absent lists, and <, >, & and U+2028/U+2029 escaped. The bytes are what is
// signed, so a reader keeps them and never encodes again.
import type * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { type Json, parseJson } from "../system/json.ts";
import { unicodeEscape } from "../system/unicode-escape.ts";
import type { Gate, Health } from "./health-schema.ts";
import type { Problem } from "./problem.ts";
import { checkRules } from "./rules.ts";
import { type InstallManifest, installManifestSchema, type Port, type Release } from "./schema.ts";
import type { Secret } from "./secret-schema.ts";
import { serviceKeys } from "./service-schema.ts";

/** JSON text with the escapes that Go's encoder adds. */
function goJson(value: Json): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, unicodeEscape);
}

/** Ours, after everything that the published format has; readers of that format skip keys they do not know. */
function encodeRelease({ serial, epoch, expires, anchors, revoked, rollout }: Release): Json {
  return {
    serial,
    epoch,
    ...(expires === undefined ? {} : { expires }),
    ...(anchors === undefined ? {} : { anchors: [...anchors] }),
    ...(revoked === undefined ? {} : { revoked: [...revoked] }),
    ...(rollout === undefined ? {} : { rollout: encodeRollout(rollout) }),
  };
}

function encodeRollout({ percent, from, over }: NonNullable<Release["rollout"]>): Json {
  return {
    percent,
    ...(from === undefined ? {} : { from }),
    ...(over === undefined ? {} : { over }),
  };
}

/** Ours too. */
function encodeSecret({ name, data, recipients }: Secret): Json {
  return { name, data, recipients: recipients.map(({ key, sealed }) => ({ key, sealed })) };
}

/** Ours too. */
function encodeHealth({ http, tcp, exec, ...times }: Health): Json {
  const { interval, timeout, retries, start_period, required } = times;
  return {
    ...(http === undefined
      ? {}
      : {
          http: {
            port: http.port,
            path: http.path,
            ...(http.status === undefined ? {} : { status: http.status }),
          },
        }),
    ...(tcp === undefined ? {} : { tcp: { port: tcp.port } }),
    ...(exec === undefined ? {} : { exec: [...exec] }),
    ...{ interval, timeout, retries, start_period, required },
  };
}

/** Ours too. */
function encodeGate({ timeout, settle, tries }: Gate): Json {
  return { timeout, settle, tries };
}

/** Ours too: a field as it is, with its keys in a fixed order, or nothing when it was left out. */
function given(key: string, value: Plain | undefined): { [key: string]: Json } {
  return value === undefined ? {} : { [key]: ordered(value) };
}

/** What a schema of ours gives: JSON, in which optional keys may be there without a value. */
type Plain = string | number | boolean | readonly Plain[] | { readonly [key: string]: Plain | undefined };

function ordered(value: Plain): Json {
  if (typeof value !== "object") return value;
  if (isList(value)) return value.map(ordered);
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.assign({}, ...entries.map(([key, item]) => given(key, item)));
}

function isList(value: Plain): value is readonly Plain[] {
  return Array.isArray(value);
}

function portMore({ protocol, address, count }: Port): { [key: string]: Json } {
  return { ...given("protocol", protocol), ...given("address", address), ...given("count", count) };
}

/**
 * The bytes of install.json. Lists named `storage` are left out when empty (the form before December 2023,
 * which every reader accepts), `ports` is `null` when empty.
 */
export function encodeInstallManifest(manifest: InstallManifest): Uint8Array {
  const document: Json = {
    version: manifest.version,
    product: manifest.product,
    ...(manifest.storage.length === 0
      ? {}
      : {
          storage: manifest.storage.map((v) => ({
            label: v.label,
            persistent: v.persistent,
            nsgroup: v.nsgroup,
            size: v.size,
            ...given("enforce", v.enforce),
          })),
        }),
    targets: manifest.targets.map((t) => ({
      service_name: t.service_name,
      version: t.version,
      service_type: t.service_type,
      network: {
        type: t.network.type,
        ipv4: t.network.ipv4,
        ipv6: t.network.ipv6,
        ports:
          t.network.ports.length === 0
            ? null
            : t.network.ports.map((p) => ({ host: p.host, container: p.container, ...portMore(p) })),
        ...given("dns", t.network.dns),
        ...given("hosts", t.network.hosts),
      },
      nsgroup: t.nsgroup,
      digest: t.digest,
      ...(t.storage.length === 0
        ? {}
        : {
            storage: t.storage.map((m) => ({
              dest: m.dest,
              label: m.label,
              ...given("read_only", m.read_only),
            })),
          }),
      size: t.size,
      ...(t.secrets.length === 0 ? {} : { secrets: t.secrets.map(encodeSecret) }),
      ...(t.health === undefined ? {} : { health: encodeHealth(t.health) }),
      ...Object.assign({}, ...serviceKeys.map((key) => given(key, t[key]))),
    })),
    update_type: manifest.update_type,
    ...(manifest.release === undefined ? {} : { release: encodeRelease(manifest.release) }),
    ...(manifest.health === undefined ? {} : { health: encodeGate(manifest.health) }),
  };
  return new TextEncoder().encode(goJson(document));
}

/** `targets.0.network.ports.1.host: message`, the way every report of a manifest names a field. */
export function formatProblem({ path, message }: Problem): string {
  return `${path.length === 0 ? "document" : path.join(".")}: ${message}`;
}

/** The problems of a zod error, unknown keys named at their own place. */
export function problemsOf(error: z.core.$ZodError): Problem[] {
  return error.issues.flatMap((issue) => {
    const path = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
    if (issue.code !== "unrecognized_keys") return [{ path, message: issue.message }];
    return issue.keys.map((key) => ({ path: [...path, key], message: "unknown key" }));
  });
}

/**
 * Parses and checks the bytes of an install.json.
 * @throws MosError `document-invalid` when it is not strict JSON, `manifest-refused` with every problem
 */
export function parseInstallManifest(bytes: Uint8Array): InstallManifest {
  const result = installManifestSchema.safeParse(parseJson(bytes, "install.json"));
  const problems = result.success ? checkRules(result.data) : problemsOf(result.error);
  if (result.success && problems.length === 0) return result.data;
  const lines = problems.map(formatProblem);
  throw new MosError("manifest-refused", `install.json does not fit the schema: ${lines[0]}`, {
    about: "install.json",
    problems: lines,
  });
}
