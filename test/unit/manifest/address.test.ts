import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatSubnet, overlap, parseCidr } from "../../../src/manifest/address.ts";

describe("addresses with prefix", () => {
  it("are read back as what was written, in both families", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(4 as const, 6 as const),
        fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
        fc.nat(),
        (family, n, p) => {
          const bits = family === 4 ? 32 : 128;
          const address = BigInt.asUintN(bits, n);
          const prefix = p % (bits + 1);
          const text = formatAddress(address, family);
          expect(family === 4 ? isIPv4(text) : isIPv6(text)).toBe(true);
          expect(parseCidr(`${text}/${prefix}`, family)).toEqual({ family, address, prefix });
        },
      ),
    );
  });

  it.each([
    "10.0.0.1",
    "10.0.0.1/33",
    "10.0.0.256/8",
    "fd00::1/64",
    "10.0.0.1/08",
    "10.0.0.1/ 8",
    "010.0.0.1/8",
    "",
  ])("%j is no IPv4 address with prefix", (text) => expect(parseCidr(text, 4)).toBeUndefined());

  it.each(["fd00::1", "fd00::1/129", "fe80::1%eth0/64", "10.0.0.1/8", "::1::/64", ""])(
    "%j is no IPv6 address with prefix",
    (text) => expect(parseCidr(text, 6)).toBeUndefined(),
  );

  it("have a subnet, which overlaps itself and what is inside it", () => {
    const parse = (text: string, family: 4 | 6) => parseCidr(text, family) ?? expect.fail(text);
    expect(formatSubnet(parse("10.0.3.99/24", 4))).toBe("10.0.3.0/24");
    expect(formatSubnet(parse("fd00:0:0:3::99/64", 6))).toBe("fd00:0:0:3::/64");
    expect(overlap(parse("10.0.3.99/24", 4), parse("10.0.3.1/30", 4))).toBe(true);
    expect(overlap(parse("10.0.3.99/24", 4), parse("10.0.4.1/24", 4))).toBe(false);
    expect(overlap(parse("0.0.0.0/0", 4), parse("::/0", 6))).toBe(false);
  });
});
