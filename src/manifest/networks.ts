// Which services of a manifest are on one network, and with which addresses. An address that nobody fixed follows from
// the service's own name and its subnet alone, so it stays what it is whatever else comes and goes: no record of addresses
// is needed, and the publisher sees the same ones as every device.
import { createHash } from "node:crypto";
import { type Cidr, formatAddress, formatSubnet, parseCidr, subnetBounds } from "./address.ts";

/** What of a target says where it is connected; in either form of a manifest. */
interface Connected {
  readonly service_name: string;
  readonly service_type: "container" | "fs-only" | "hostfs";
  readonly network: {
    readonly type: "host" | "none" | "simple";
    readonly ipv4: string;
    readonly ipv6: string;
  };
}

/** One bridge and who is on it. */
export interface ServiceNetwork {
  /** In CIDR notation, sorted. */
  readonly subnets: readonly string[];
  readonly services: readonly string[];
}

/**
 * Subnets of services that fix no address. 198.18.0.0/15 (RFC 2544, RFC 6890: for benchmarks, routed nowhere) is large
 * enough that names seldom share an address, and on no network that a device could be part of. The other one is local
 * (RFC 4193); its 40 bits are the first of the SHA-256 of "mos automatic network".
 */
const automaticSubnets = { ipv4: "198.18.0.0/15", ipv6: "fd50:e69:25a::/64" } as const;

/** What a target says instead of an address that it fixes. */
export const automaticIpv6 = "auto";

/** The addresses that a target fixes. */
export function fixedAddresses({ network }: Connected): Cidr[] {
  return ([4, 6] as const).flatMap((family) => {
    const cidr = parseCidr(family === 4 ? network.ipv4 : network.ipv6, family);
    return cidr === undefined ? [] : [cidr];
  });
}

/**
 * IPv6 only for who asks for it: on a device that has it turned off, nobody on a network with it could start. One who asks
 * brings it to all on the automatic network.
 */
function automaticFor({ network }: Connected): readonly string[] {
  const { ipv4, ipv6 } = automaticSubnets;
  return network.ipv6 === automaticIpv6 ? [ipv4, ipv6] : [ipv4];
}

/** Services that share any subnet are on one network, which then has all their subnets. */
export function networksOf(targets: readonly Connected[]): ServiceNetwork[] {
  let networks: ServiceNetwork[] = [];
  for (const target of targets) {
    if (target.service_type !== "container" || target.network.type !== "simple") continue;
    const fixed = fixedAddresses(target).map(formatSubnet);
    const subnets = fixed.length === 0 ? automaticFor(target) : fixed;
    const joins = (network: ServiceNetwork) => network.subnets.some((subnet) => subnets.includes(subnet));
    const joined = networks.filter(joins);
    networks = networks.filter((network) => !joins(network));
    networks.push({
      subnets: [...new Set([...joined.flatMap((network) => network.subnets), ...subnets])].sort(),
      services: [...joined.flatMap((network) => network.services), target.service_name],
    });
  }
  return networks;
}

/**
 * The address of a service in a subnet in which it fixes none: never the network's own, the gateway's (the first) or the
 * last one. Undefined when the subnet has no room for one.
 */
export function automaticAddress(service: string, subnet: Cidr): Cidr | undefined {
  const { first, last } = subnetBounds(subnet);
  const room = last - first - 2n;
  if (room < 1n) return undefined;
  const digest = createHash("sha256").update(service, "utf8").digest("hex");
  return { ...subnet, address: first + 2n + (BigInt(`0x${digest}`) % room) };
}

/** Every address of a service on its network, one in each subnet; those that it fixes as they are. */
export function addressesOn({ subnets }: ServiceNetwork, target: Connected): Cidr[] {
  const fixed = new Map(fixedAddresses(target).map((cidr) => [formatSubnet(cidr), cidr]));
  return subnets.flatMap((text) => {
    const subnet = parseCidr(text, text.includes(":") ? 6 : 4);
    const address = fixed.get(text) ?? (subnet && automaticAddress(target.service_name, subnet));
    return address === undefined ? [] : [address];
  });
}

/** The address alone, as text. */
export function plainAddress({ address, family }: Cidr): string {
  return formatAddress(address, family);
}
