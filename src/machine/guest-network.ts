// Addresses of a virtual machine's private network, and what a guest's disk needs to use it (systemd-networkd).

export const hostAddress = "10.77.0.1";
export const guestAddress = "10.77.0.2";
export const prefixLength = 24;

/** The guest's device: UML calls the first device of its vector driver `vec0`. */
const device = "vec0";

/** For /etc/systemd/network of the guest. The network never holds up a boot: the cable may be out. */
export const guestNetworkFile = {
  path: "/etc/systemd/network/10-machine.network",
  mode: 0o644,
  content: `[Match]
Name=${device}

[Link]
RequiredForOnline=no

[Network]
Address=${guestAddress}/${prefixLength}
Gateway=${hostAddress}
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
`,
} as const;
