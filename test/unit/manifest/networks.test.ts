// Addresses that nobody fixed: every service has its own, in both families, and keeps it whatever comes and goes.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatSubnet, parseCidr, subnetBounds } from "../../../src/manifest/address.ts";
import { addressesOn, automaticAddress, networksOf } from "../../../src/manifest/networks.ts";
import { checkRules } from "../../../src/manifest/rules.ts";
import type { Target } from "../../../src/manifest/schema.ts";
import { sampleManifest, sampleTarget } from "../../samples.ts";

function connected(service_name: string, ipv4 = "", ipv6 = ""): Target {
  return sampleTarget({ service_name, network: { type: "simple", ipv4, ipv6, ports: [] } });
}

/** Every address of every service, as `NAME ADDRESS`. */
function plan(targets: readonly Target[]): string[] {
  return networksOf(targets).flatMap((network) =>
    targets
      .filter(({ service_name }) => network.services.includes(service_name))
      .flatMap((target) =>
        addressesOn(network, target).map(
          (address) => `${target.service_name} ${formatAddress(address.address, address.family)}`,
        ),
      ),
  );
}

function problems(targets: readonly Target[]): string[] {
  return checkRules(sampleManifest({ targets: [...targets] })).map(
    ({ path, message }) => `${path.join(".")}: ${message}`,
  );
}

const names = fc.uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), { minLength: 1, maxLength: 40 });

describe("automatic addresses", () => {
  it("are one of each family that is asked for, and the same whoever else is on the network, in whatever order", () => {
    fc.assert(
      fc.property(names, fc.nat(), fc.nat(), fc.boolean(), (all, pick, asks, withIpv6) => {
        const targets = all.map((name, i) =>
          connected(name, "", withIpv6 && (i === asks % all.length || i % 3 === 0) ? "auto" : ""),
        );
        const whole = plan(targets);
        expect(whole).toHaveLength((withIpv6 ? 2 : 1) * all.length);
        const some = targets.filter((_, i) => (pick >> (i % 30)) % 2 === 0).toReversed();
        for (const line of plan(some)) expect(whole).toContain(line);
      }),
    );
  });

  it("of IPv6 are not for a service that fixes its IPv4 address", () => {
    expect(problems([connected("web", "10.5.0.3/24", "auto")])).toEqual([
      expect.stringMatching(/^targets\.0\.network\.ipv6: auto is for a service without a fixed ipv4/),
    ]);
  });

  it("are never the network's own, the gateway's or the last one, in subnets of any size", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(4 as const, 6 as const),
        fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
        fc.nat(),
        fc.string(),
        (family, n, p, name) => {
          const bits = family === 4 ? 32 : 128;
          const subnet = { family, address: BigInt.asUintN(bits, n), prefix: p % (bits + 1) };
          const found = automaticAddress(name, subnet);
          const { first, last } = subnetBounds(subnet);
          if (found === undefined) {
            expect(last - first).toBeLessThan(3n);
            return;
          }
          expect(found.address).toBeGreaterThan(first + 1n);
          expect(found.address).toBeLessThan(last);
          expect(formatSubnet(found)).toBe(formatSubnet(subnet));
        },
      ),
    );
  });

  it("that two services would share are refused, at publish and on the device, so none is ever given twice", () => {
    fc.assert(
      fc.property(names, fc.nat({ max: 20 }), (all, fixed) => {
        const targets = all.map((name, i) => connected(name, i < fixed ? `10.9.0.${i + 2}/28` : "", ""));
        const shared = connected("shared", "10.9.0.14/28", "fd00:9::5/64");
        const everyone = [...targets.slice(0, 12), shared];
        const lines = plan(everyone).map((line) => line.split(" ")[1]);
        if (problems(everyone).length === 0) expect(new Set(lines).size).toBe(lines.length);
      }),
    );
  });

  it("stand back for nobody: who meets one is told to fix another address", () => {
    const subnet = parseCidr("198.18.0.0/15", 4) ?? expect.fail();
    const web = automaticAddress("web", subnet) ?? expect.fail();
    const its = formatAddress(web.address, 4);
    expect(problems([connected("web"), connected("db", `${its}/15`)])).toEqual([
      expect.stringMatching(/^targets\.1\.network\.ipv4: has the same address as web/),
    ]);
    expect(problems([connected("db", `${its}/15`), connected("web")])).toEqual([
      expect.stringMatching(/^targets\.1\.network: has the same address as db/),
    ]);
    expect(problems([connected("web"), connected("db", "198.18.0.2/15")])).toEqual([]);
  });

  it("and subnets that services fix do not overlap", () => {
    expect(problems([connected("web"), connected("db", "198.18.4.2/24")])).toEqual([
      expect.stringMatching(
        /^targets\.1\.network\.ipv4: the subnet 198\.18\.4\.0\/24 overlaps 198\.18\.0\.0\/15/,
      ),
    ]);
  });

  it("are also in the subnets of a network in which a service fixes none, so that podman chooses no one's", () => {
    expect(plan([connected("a", "10.9.0.2/24", "fd00:9::2/64"), connected("b", "10.9.0.3/24")])).toEqual([
      "a 10.9.0.2",
      "a fd00:9::2",
      "b 10.9.0.3",
      expect.stringMatching(/^b fd00:9::[0-9a-f:]+$/),
    ]);
  });

  it("are where devices have found them since the first release that had them", () => {
    expect(plan([connected("web", "", "auto")])).toEqual([
      "web 198.19.224.126",
      "web fd50:e69:25a:0:6d3:4b25:4af9:361",
    ]);
  });
});
