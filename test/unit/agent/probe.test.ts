// Finding a service's own address, from what the kernel says of its network namespace.
import { expect, test } from "vitest";
import { parseLocalAddresses, parseLocalAddresses6 } from "../../../src/agent/probe.ts";

const fibTrie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.3.0/24 2 0 2
        |-- 10.0.3.0
           /24 link UNICAST
        |-- 10.0.3.99
           /32 host LOCAL
        |-- 10.0.3.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
     +-- 10.0.3.0/24 2 0 2
        |-- 10.0.3.99
           /32 host LOCAL
`;
const ifInet6 = `00000000000000000000000000000001 01 80 10 80       lo
fd000003000000000000000000000099 02 40 00 80     eth0
fe80000000000000a8bbccfffe000001 02 40 20 80     eth0
`;

test("a service's address is neither loopback, nor its network's, nor link-local", () => {
  expect(parseLocalAddresses(fibTrie)).toEqual(["10.0.3.99"]);
  expect(parseLocalAddresses6(ifInet6)).toEqual(["fd00:0003:0000:0000:0000:0000:0000:0099"]);
  expect([parseLocalAddresses(""), parseLocalAddresses6("")]).toEqual([[], []]);
});
