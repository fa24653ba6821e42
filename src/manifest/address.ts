// Addresses with a prefix length (CIDR notation: RFC 4632 for IPv4, RFC 4291 section 2.3 for IPv6), as numbers.
import { isIP, isIPv4, isIPv6 } from "node:net";

export interface Cidr {
  readonly family: 4 | 6;
  readonly address: bigint;
  readonly prefix: number;
}

const bitsOf = { 4: 32, 6: 128 } as const;

function groupsToNumber(groups: readonly string[]): bigint {
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function ipv6ToNumber(text: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted?.[1] !== undefined && dotted[2] !== undefined) {
    const low = ipv4ToNumber(dotted[2]);
    return ipv6ToNumber(`${dotted[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`);
  }
  const [head = "", tail] = text.split("::");
  const left = head === "" ? [] : head.split(":");
  if (tail === undefined) return groupsToNumber(left);
  const right = tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0");
  return groupsToNumber([...left, ...zeros, ...right]);
}

function ipv4ToNumber(text: string): bigint {
  return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

/** Parses `ADDRESS/PREFIX` of one family; undefined when it is not one. Zone indices are refused. */
export function parseCidr(text: string, family: 4 | 6): Cidr | undefined {
  const match = /^([0-9A-Fa-f:.]+)\/(0|[1-9][0-9]{0,2})$/.exec(text);
  const address = match?.[1];
  if (address === undefined || !(family === 4 ? isIPv4(address) : isIPv6(address))) return undefined;
  const prefix = Number(match?.[2]);
  if (prefix > bitsOf[family]) return undefined;
  return { family, address: family === 4 ? ipv4ToNumber(address) : ipv6ToNumber(address), prefix };
}

/** The first and last address of the subnet that an address is in. */
export function subnetBounds(cidr: Cidr): { readonly first: bigint; readonly last: bigint } {
  const hostBits = BigInt(bitsOf[cidr.family] - cidr.prefix);
  const first = (cidr.address >> hostBits) << hostBits;
  return { first, last: first + (1n << hostBits) - 1n };
}

/** Whether two subnets have an address in common. */
export function overlap(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false;
  const x = subnetBounds(a);
  const y = subnetBounds(b);
  return x.first <= y.last && y.first <= x.last;
}

/** An address as text, in the form that RFC 5952 asks for where IPv6 is concerned. */
export function formatAddress(address: bigint, family: 4 | 6): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (address >> shift) & 0xffn).join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((address >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (groups[at + length] === "0") length++;
    if (length > best.length) best = { at, length };
  }
  if (best.at < 0) return groups.join(":");
  return `${groups.slice(0, best.at).join(":")}::${groups.slice(best.at + best.length).join(":")}`;
}

/** `NETWORK/PREFIX` of the subnet that an address is in. */
export function formatSubnet(cidr: Cidr): string {
  return `${formatAddress(subnetBounds(cidr).first, cidr.family)}/${cidr.prefix}`;
}

/** Whether a text is an address without prefix and without zone. */
export function isPlainAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes("%");
}
