// Field lessons A24 (X.509) and A01 (wrong key, wrong CA): each attack by name, each with its own code.
import { beforeAll, describe, expect, test } from "vitest";
import { type ValidityTime, verifyChain } from "../../../src/trust/chain.ts";
import { anchor, at, codeOf, type Issued, make, read, x509 } from "./authority.ts";

const now = at("2026-01-01");

interface Case {
  readonly leaf: Issued;
  readonly intermediates?: readonly Issued[];
  readonly anchors: readonly Issued[];
  readonly revoked?: readonly string[];
  readonly time?: ValidityTime;
}

const verify = ({ leaf, intermediates = [], anchors, revoked = [], time = now }: Case) =>
  verifyChain({
    leaf: read(leaf),
    intermediates: intermediates.map(read),
    anchors: anchors.map(anchor),
    revoked: new Set(revoked),
    time,
  });
const code = (given: Case): string => codeOf(() => verify(given));

let root: Issued;
let leaf: Issued;
let middle: Issued;
let lower: Issued;

beforeAll(async () => {
  root = await make({ ca: true });
  leaf = await make({ issuer: root });
  middle = await make({ ca: true, subject: "CN=Middle", issuer: root });
  lower = await make({ issuer: middle });
});

describe("a chain is accepted", () => {
  test("from the root to the leaf", () => {
    const chain = verify({ leaf, anchors: [root] });
    expect(chain.anchor.source).toBe("file:/anchor.pem");
    expect(chain.path.map(({ subject }) => subject.text)).toEqual(["CN=Signer", "CN=Root"]);
  });

  test("through an intermediate CA, whatever order the others come in", async () => {
    const stranger = await make({ ca: true, subject: "CN=Stranger" });
    const chain = verify({ leaf: lower, intermediates: [stranger, middle], anchors: [stranger, root] });
    expect(chain.path.map(({ subject }) => subject.text)).toEqual(["CN=Signer", "CN=Middle", "CN=Root"]);
  });

  test("when an intermediate is itself the anchor", () => {
    expect(code({ leaf: lower, anchors: [middle] })).toBe("accepted");
  });

  test("past another CA of the same name", async () => {
    const namesake = await make({ ca: true });
    expect(code({ leaf, anchors: [namesake, root] })).toBe("accepted");
    const double = await make({ ca: true, subject: "CN=Middle", issuer: root });
    expect(code({ leaf: lower, intermediates: [double, middle], anchors: [root] })).toBe("accepted");
  });

  test("through the valid one of two certificates of one key", async () => {
    const change = { ca: true, subject: "CN=Middle", issuer: root, keysOf: middle, notAfter: "2025-01-01" };
    const expired = await make(change);
    expect(code({ leaf: lower, intermediates: [expired], anchors: [root] })).toBe("certificate-expired");
    expect(code({ leaf: lower, intermediates: [expired, middle], anchors: [root] })).toBe("accepted");
  });

  test("with neither key usage nor purposes in its certificates, as older CAs issue them", async () => {
    const harmless = new x509.Extension("1.2.3.4", false, Buffer.of(5, 0));
    const bare = await make({ ca: true, keyUsage: "none" });
    const child = await make({ issuer: bare, keyUsage: "none", purposes: [], extra: [harmless] });
    expect(code({ leaf: child, anchors: [bare] })).toBe("accepted");
  });

  test("at boot, whatever the clock: what was installed does not expire", async () => {
    const old = await make({ ca: true, notAfter: "2021-01-01" });
    const child = await make({ issuer: old, notAfter: "2021-01-01" });
    expect(code({ leaf: child, anchors: [old], time: { kind: "ignore" } })).toBe("accepted");
  });

  test("as long as its lengths allow", async () => {
    const limited = await make({ ca: { pathLength: 1 } });
    const between = await make({ ca: { pathLength: 0 }, subject: "CN=Middle", issuer: limited });
    const child = await make({ issuer: between });
    expect(code({ leaf: child, intermediates: [between], anchors: [limited] })).toBe("accepted");
  });
});

describe("a chain is refused", () => {
  test("through a certificate that is no CA", async () => {
    const project = await make({ subject: "CN=Other project", issuer: root });
    const forged = await make({ issuer: project });
    expect(code({ leaf: forged, intermediates: [project], anchors: [root] })).toBe("chain-not-ca");
  });

  test("through a certificate that is no CA although its key usage says keyCertSign", async () => {
    const usage = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature;
    const project = await make({ subject: "CN=Other project", issuer: root, keyUsage: usage });
    const forged = await make({ issuer: project });
    expect(code({ leaf: forged, intermediates: [project], anchors: [root] })).toBe("chain-not-ca");
  });

  test("to an anchor that is no CA", async () => {
    const project = await make({ subject: "CN=Project" });
    expect(code({ leaf: await make({ issuer: project }), anchors: [project] })).toBe("chain-not-ca");
  });

  test("under another CA", async () => {
    const other = await make({ ca: true, subject: "CN=Another root" });
    expect(code({ leaf, anchors: [other] })).toBe("chain-untrusted");
  });

  test("under a CA of the same name with another key", async () => {
    const namesake = await make({ ca: true });
    expect(code({ leaf, anchors: [namesake] })).toBe("chain-untrusted");
    expect(() => verify({ leaf, anchors: [namesake] })).toThrow("another key");
  });

  test("when an intermediate leads nowhere", async () => {
    const stray = await make({ ca: true, subject: "CN=Stray" });
    const child = await make({ issuer: stray });
    expect(code({ leaf: child, intermediates: [stray], anchors: [root] })).toBe("chain-untrusted");
  });

  test("when the intermediate is missing", () => {
    expect(code({ leaf: lower, anchors: [root] })).toBe("chain-untrusted");
  });

  test("when the leaf is signed by itself", async () => {
    expect(code({ leaf: await make({}), anchors: [root] })).toBe("chain-untrusted");
  });

  test("when the leaf is the anchor itself", async () => {
    const usage = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature;
    const both = await make({ ca: true, keyUsage: usage });
    expect(code({ leaf: both, anchors: [both] })).toBe("chain-constraint");
  });

  test("when a CA certificate signs a manifest", () => {
    expect(code({ leaf: middle, anchors: [root] })).toBe("chain-constraint");
  });

  test("when an issuer lacks keyCertSign", async () => {
    const ca = await make({ ca: true, keyUsage: x509.KeyUsageFlags.cRLSign });
    expect(code({ leaf: await make({ issuer: ca }), anchors: [ca] })).toBe("chain-constraint");
  });

  test("when there are more CA certificates than one of them allows", async () => {
    const limited = await make({ ca: { pathLength: 0 } });
    const between = await make({ ca: true, subject: "CN=Middle", issuer: limited });
    const child = await make({ issuer: between });
    expect(code({ leaf: child, intermediates: [between], anchors: [limited] })).toBe("chain-constraint");
  });

  test.each([
    ["another purpose", { purposes: [x509.ExtendedKeyUsage.serverAuth] }],
    ["any purpose but not this one by name", { purposes: ["2.5.29.37.0"] }],
    ["no digitalSignature", { keyUsage: x509.KeyUsageFlags.keyEncipherment }],
  ])("when the leaf is for %s", async (_, change) => {
    expect(code({ leaf: await make({ issuer: root, ...change }), anchors: [root] })).toBe("chain-constraint");
  });

  test("when an intermediate CA is for TLS only", async () => {
    const tls = await make({ ca: true, subject: "CN=TLS", issuer: root, purposes: ["1.3.6.1.5.5.7.3.1"] });
    const child = await make({ issuer: tls });
    expect(code({ leaf: child, intermediates: [tls], anchors: [root] })).toBe("chain-constraint");
  });

  test("when it is longer than four issuers", async () => {
    const cas: Issued[] = [root];
    for (let n = 0; n < 5; n++) {
      const issuer = cas.at(-1);
      if (issuer !== undefined) cas.push(await make({ ca: true, subject: `CN=CA ${n}`, issuer }));
    }
    const child = async (depth: number) => {
      const issuer = cas[depth - 1];
      return issuer === undefined ? make({}) : make({ issuer });
    };
    expect(code({ leaf: await child(4), intermediates: cas.slice(1), anchors: [root] })).toBe("accepted");
    expect(code({ leaf: await child(5), intermediates: cas.slice(1), anchors: [root] })).toBe(
      "chain-untrusted",
    );
  });

  test("in bounded time when CAs certify each other in circles", async () => {
    const first = await make({ ca: true, subject: "CN=Loop" });
    const again = (year: number) =>
      make({ ca: true, subject: "CN=Loop", keysOf: first, notAfter: `${year}-01-01` });
    const cas = [first, ...(await Promise.all([2041, 2042, 2043, 2044, 2045, 2046].map(again)))];
    const child = await make({ issuer: first });
    expect(code({ leaf: child, intermediates: cas, anchors: [root] })).toBe("chain-untrusted");
    expect(() => verify({ leaf: child, intermediates: cas, anchors: [root] })).toThrow("64 attempts");
  });
});

describe("dates", () => {
  test.each([
    ["an expired leaf", { notAfter: "2025-01-01" }, {}, "certificate-expired", "CN=Signer"],
    ["a leaf from the future", { notBefore: "2027-01-01" }, {}, "certificate-not-yet-valid", "CN=Signer"],
    ["an expired intermediate", {}, { notAfter: "2025-01-01" }, "certificate-expired", "CN=Middle"],
    [
      "an intermediate from the future",
      {},
      { notBefore: "2027-01-01" },
      "certificate-not-yet-valid",
      "CN=Middle",
    ],
  ])("refuse %s, and name it", async (_, leafChange, middleChange, expected, about) => {
    const between = await make({ ca: true, subject: "CN=Middle", issuer: root, ...middleChange });
    const child = await make({ issuer: between, ...leafChange });
    const given = { leaf: child, intermediates: [between], anchors: [root] };
    expect(code(given)).toBe(expected);
    expect(() => verify(given)).toThrow(expect.objectContaining({ about }));
    expect(code({ ...given, time: { kind: "ignore" } })).toBe("accepted");
  });

  test("refuse an expired anchor", async () => {
    const old = await make({ ca: true, notAfter: "2025-01-01" });
    expect(code({ leaf: await make({ issuer: old }), anchors: [old] })).toBe("certificate-expired");
  });

  test("are inclusive at both ends, as RFC 5280 has them", async () => {
    const child = await make({ issuer: root, notBefore: "2026-01-01", notAfter: "2026-02-01" });
    const on = (text: string): string => code({ leaf: child, anchors: [root], time: at(text) });
    expect([on("2025-12-31"), on("2026-01-01"), on("2026-02-01"), on("2026-02-02")]).toEqual([
      "certificate-not-yet-valid",
      "accepted",
      "accepted",
      "certificate-expired",
    ]);
  });

  test("are reported with the clock they were held against", async () => {
    const time = { ...at("1970-01-01"), source: "the system clock" };
    expect(() => verify({ leaf, anchors: [root], time })).toThrow("the system clock says 1970-01-01");
  });

  test("of a certificate that nobody vouches for are not looked at", async () => {
    const stray = await make({ notAfter: "2021-01-01" });
    expect(code({ leaf: stray, anchors: [root] })).toBe("chain-untrusted");
  });
});
