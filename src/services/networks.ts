// Networks of type `simple`: one bridge per subnet that the manifest names, and one that podman numbers itself
// for the services that name none. A network exists while a service uses it.
import { formatSubnet, parseCidr } from "../manifest/address.ts";
import type { Target } from "../manifest/schema.ts";
import { command, formatUnit, raw } from "../systemd/unit-file.ts";
import type { RenderedUnit } from "./model.ts";

interface Network {
  /** Subnets in CIDR notation; empty means that podman chooses one. */
  readonly subnets: readonly string[];
  readonly services: readonly string[];
}

function subnetsOf({ network }: Target): string[] {
  return ([4, 6] as const).flatMap((family) => {
    const cidr = parseCidr(family === 4 ? network.ipv4 : network.ipv6, family);
    return cidr === undefined ? [] : [formatSubnet(cidr)];
  });
}

/** Services that share any subnet are on one network, which then has all their subnets. */
export function planNetworks(targets: readonly Target[]): Network[] {
  let networks: Network[] = [];
  for (const target of targets) {
    if (target.service_type !== "container" || target.network.type !== "simple") continue;
    const subnets = subnetsOf(target);
    const joins = (n: Network) =>
      subnets.length === 0 ? n.subnets.length === 0 : n.subnets.some((subnet) => subnets.includes(subnet));
    const joined = networks.filter(joins);
    networks = networks.filter((n) => !joins(n));
    networks.push({
      subnets: [...new Set([...joined.flatMap((n) => n.subnets), ...subnets])].sort(),
      services: [...joined.flatMap((n) => n.services), target.service_name],
    });
  }
  return networks;
}

/** `mos-auto`, or `mos-10.0.3.0-24`: the configuration is in the name, so a changed one is another network. */
function networkName({ subnets }: Network): string {
  return subnets.length === 0
    ? "mos-auto"
    : `mos-${subnets.join("_").replaceAll("/", "-").replaceAll(":", ".")}`;
}

/** Names of the networks that services of a manifest use. */
export function networkNames(targets: readonly Target[]): string[] {
  return planNetworks(targets).map(networkName);
}

/** Name and address of each service that this one finds by its name; the rules see to it that they have addresses. */
export function hostsOf({ network }: Target, targets: readonly Target[]): string[] {
  const named = targets.filter(({ service_name }) => network.hosts?.includes(service_name) === true);
  return named.flatMap(({ service_name, network: { ipv4, ipv6 } }) =>
    [ipv4, ipv6].filter((text) => text !== "").map((text) => `${service_name}:${withoutPrefix(text)}`),
  );
}

function withoutPrefix(text: string): string {
  return text.slice(0, text.indexOf("/"));
}

/** What a service's quadlet says to be on its network, with its fixed addresses. */
export function networkReference(network: Network, { network: { ipv4, ipv6 } }: Target): string {
  const options = [
    ...(ipv4 === "" ? [] : [`ip=${withoutPrefix(ipv4)}`]),
    ...(ipv6 === "" ? [] : [`ip6=${withoutPrefix(ipv6)}`]),
  ];
  return [`${networkName(network)}.network`, ...(options.length === 0 ? [] : [options.join(",")])].join(":");
}

export function renderNetwork(network: Network): RenderedUnit {
  const name = networkName(network);
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos network ${name}`)],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    { name: "Quadlet", entries: [["DefaultDependencies", raw("false")]] },
    {
      name: "Network",
      entries: [
        ["NetworkName", raw(name)],
        // podman's name server does not start without an /etc/resolv.conf, and then no service does: a device must
        // come up with nobody to ask. Services get the name servers of the host.
        ["DisableDNS", raw("true")],
        ...network.subnets.map((subnet) => ["Subnet", raw(subnet)] as const),
        ...(network.subnets.some((subnet) => subnet.includes(":")) ? [["IPv6", raw("true")] as const] : []),
      ],
    },
    // Fails, and may, when a container of somebody else is on the network.
    { name: "Service", entries: [["ExecStop", raw(`-${command("podman", "network", "rm", name)}`)]] },
  ]);
  return { kind: "quadlet", name: `${name}.network`, content, services: [...network.services].sort() };
}
