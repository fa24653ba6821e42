// The host and port of a registry as people write them, and how a reference that cannot be used is refused. Pure.
import { isIPv4, isIPv6 } from "node:net";
import { MosError } from "../errors/mos-error.ts";

// RFC 1123 section 2.1; a host name is at most 253 characters in labels of at most 63.
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const maxHost = 253;

/** Text of a message: what a person typed, with nothing in it that moves a terminal, and not endless. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}

/** @throws MosError `reference-invalid`, always */
export function refuse(text: string, why: string, hint?: string): never {
  throw new MosError("reference-invalid", `cannot use the reference ${shown(text)}: ${why}`, {
    about: shown(text),
    ...(hint === undefined ? {} : { hint }),
  });
}

function parsePort(port: string, text: string): void {
  if (!/^[1-9][0-9]{0,4}$/.test(port) || Number(port) > 65_535) {
    refuse(text, `the port ${shown(port)} is not a number from 1 to 65535`);
  }
}

function checkHost(host: string, text: string): void {
  if (host === "") refuse(text, "it has no host before the first '/'");
  if (host.length > maxHost) refuse(text, `the host is longer than ${maxHost} characters`);
  const labels = host.split(".");
  for (const part of labels) {
    if (!label.test(part)) refuse(text, `the host ${shown(host)} is not a host name or address`);
  }
  // What resolvers read as an IPv4 address in one of its old spellings (inet_aton(3)) must be one in full.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "") && !isIPv4(host)) {
    refuse(text, `the host ${shown(host)} is not a complete IPv4 address`);
  }
}

/**
 * Checks and normalizes `host[:port]`.
 * @param text the whole reference, for messages
 * @throws MosError `reference-invalid`
 */
export function parseAuthority(given: string, text: string): string {
  const authority = given.toLowerCase();
  const bracketed = /^\[([0-9a-f:.]*)\](?::(.*))?$/.exec(authority);
  if (bracketed !== null) {
    const [, address = "", port] = bracketed;
    if (!isIPv6(address)) refuse(text, `the host ${shown(`[${address}]`)} is not an IPv6 address`);
    if (port !== undefined) parsePort(port, text);
    return authority;
  }
  const colon = authority.indexOf(":");
  checkHost(colon < 0 ? authority : authority.slice(0, colon), text);
  if (colon >= 0) parsePort(authority.slice(colon + 1), text);
  return authority;
}

/** The host of `host:port`, an IPv6 address with its brackets. */
export function hostOf(authority: string): string {
  return authority.startsWith("[")
    ? authority.slice(1, authority.indexOf("]"))
    : (authority.split(":", 1)[0] ?? "");
}

/** Whether a host is this machine itself: `localhost`, 127.0.0.0/8 or `::1`, with or without brackets. */
export function isLoopbackHost(host: string): boolean {
  return (
    host === "localhost" || host === "::1" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."))
  );
}
