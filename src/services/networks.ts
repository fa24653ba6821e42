// Networks of type `simple` as units: one bridge for the services that share a subnet, and one for those that fix no
// address. A network exists while a service uses it.
import { addressesOn, networksOf, plainAddress, type ServiceNetwork } from "../manifest/networks.ts";
import type { Target } from "../manifest/schema.ts";
import { command, raw, type Section } from "../systemd/unit-file.ts";
import type { Quadlet } from "./podman-service.ts";
import { networkFile } from "./unit-names.ts";

/** `mos-10.0.3.0-24`: the configuration is in the name, so a changed one is another network. */
function networkName({ subnets }: ServiceNetwork): string {
  return `mos-${subnets.join("_").replaceAll("/", "-").replaceAll(":", ".")}`;
}

/** Names of the networks that services of a manifest use. */
export function networkNames(targets: readonly Target[]): string[] {
  return networksOf(targets).map(networkName);
}

/** Name and address of each service that this one finds by its name: those on its own network. */
export function hostsOf(
  { network: { hosts = [] } }: Target,
  network: ServiceNetwork,
  targets: readonly Target[],
): string[] {
  return targets
    .filter(({ service_name: name }) => hosts.includes(name) && network.services.includes(name))
    .flatMap((target) =>
      addressesOn(network, target).map((address) => `${target.service_name}:${plainAddress(address)}`),
    );
}

/** What a service's quadlet says to be on its network. Every address is given, so that podman chooses none itself. */
export function networkReference(network: ServiceNetwork, target: Target): string {
  const options = addressesOn(network, target).map(
    (address) => `${address.family === 4 ? "ip" : "ip6"}=${plainAddress(address)}`,
  );
  return [networkFile(networkName(network)), ...(options.length === 0 ? [] : [options.join(",")])].join(":");
}

/** @param users services of the network that run, of which at least one does */
export function renderNetwork(network: ServiceNetwork, users: readonly string[]): Quadlet {
  const name = networkName(network);
  const sections = [
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos network ${name}`)],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Network",
      entries: [
        ["NetworkName", raw(name)],
        // podman's name server does not start without an /etc/resolv.conf, and then no service does: a device must
        // come up with nobody to ask. Services get the name servers of the host.
        ["DisableDNS", raw("true")],
        ...(network.subnets.some((subnet) => subnet.includes(":")) ? [["IPv6", raw("true")] as const] : []),
        ...network.subnets.map((subnet) => ["Subnet", raw(subnet)] as const),
      ],
    },
    // Fails, and may, when a container of somebody else is on the network.
    { name: "Service", entries: [["ExecStop", raw(`-${command("podman", "network", "rm", name)}`)]] },
  ] satisfies Section[];
  return { of: { network: name }, sections, services: [...users].sort() };
}
