import { describe, expect, test } from "vitest";
import { defaultTpm, formatTpmAddress, parseTpmAddress } from "../../../src/tpm/address.ts";

describe("the address of a TPM", () => {
  test.for([
    ["device:/dev/tpmrm0", defaultTpm],
    ["swtpm:/run/swtpm/sock", { kind: "socket", path: "/run/swtpm/sock" }],
    ["swtpm:/a:1", { kind: "socket", path: "/a:1" }],
    ["swtpm:localhost:2321", { kind: "tcp", host: "localhost", port: 2321 }],
    ["swtpm:127.0.0.1:2321", { kind: "tcp", host: "127.0.0.1", port: 2321 }],
    ["swtpm:[::1]:2321", { kind: "tcp", host: "::1", port: 2321 }],
  ] as const)("%s is understood, and written the same", ([text, address]) => {
    expect(parseTpmAddress(text)).toEqual(address);
    expect(formatTpmAddress(address)).toBe(text);
  });

  test.for([
    "",
    "/dev/tpmrm0",
    "device:",
    "device:tpmrm0",
    "device:localhost:1",
    "swtpm:localhost",
    "swtpm:localhost:0",
    "swtpm:localhost:65536",
    "swtpm::2321",
    "swtpm:::1:2321",
    "swtpm:/a\0b",
    "mssim:localhost:2321",
  ])("%j is refused", (text) => {
    expect(() => parseTpmAddress(text)).toThrow(expect.objectContaining({ code: "tpm-address-invalid" }));
  });
});
