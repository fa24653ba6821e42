// Attack A07: a manifest of another product under the same CA. Every combination of who says what.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { deviceProduct } from "../../../src/trust/device-identity.ts";
import { builtInPolicy } from "../../../src/trust/policy.ts";
import { checkProduct, productOfDevice, productOfSigner } from "../../../src/trust/product.ts";
import { temporaryDirectory } from "../../support.ts";
import { codeOf, make } from "./authority.ts";

const a = "11111111-2222-4333-8444-555555555555";
const b = "99999999-2222-4333-8444-555555555555";
const signer = (product: string) => `manifest PRODUCT:${product}`;
const device = (product: string) => ({ product, source: "the policy" });

// biome-ignore format: a table
const cases: readonly [what: string, manifest: string, signerName: string | undefined, device: string | undefined, running: string | undefined, code: string][] = [
  ["all agree",                                              a,         signer(a), a,         a,         "accepted"],
  ["a device without an identity takes what agrees",         a,         signer(a), undefined, undefined, "accepted"],
  ["the manifest names another than it was signed for",      a,         signer(b), undefined, undefined, "product-mismatch"],
  ["the manifest has a name of its own, as the demo's",      "default", signer(a), undefined, undefined, "accepted"],
  ["nobody names a product",                                 "demo",    "Signer",  undefined, undefined, "accepted"],
  ["signed for another product than the device's",           a,         signer(b), a,         undefined, "product-mismatch"],
  ["for another product than the device's",                  b,         signer(b), a,         undefined, "product-mismatch"],
  ["the device knows its product, the certificate does not", a,         "Signer",  a,         undefined, "product-mismatch"],
  ["the certificate has no name at all",                     a,         undefined, a,         undefined, "product-mismatch"],
  ["the device knows its product, the manifest has a name",  "default", signer(a), a,         undefined, "product-mismatch"],
  ["the device's product is right, what ran was another",    a,         signer(a), a,         b,         "accepted"],
  ["another product runs here",                              b,         signer(b), undefined, a,         "product-mismatch"],
  ["one without a product after one with",                   "demo",    "Signer",  undefined, a,         "product-mismatch"],
  ["the same product again",                                 a,         signer(a), undefined, a,         "accepted"],
];

describe("product binding", () => {
  test.each(cases)("%s", (_, manifest, signerName, own, running, code) => {
    const claims = { manifest, signerName, device: own === undefined ? undefined : device(own), running };
    expect(codeOf(() => checkProduct(claims))).toBe(code);
  });

  test("reads products in the published spelling only", () => {
    expect(productOfSigner(signer(a))).toBe(a);
    for (const name of [
      undefined,
      "",
      a,
      `manifest PRODUCT:`,
      `x manifest PRODUCT:${a}`,
      `manifest PRODUCT:${a} b`,
    ]) {
      expect(productOfSigner(name)).toBeUndefined();
    }
    expect(productOfDevice(`PID:${a} SN:machine-1`)).toBe(a);
    for (const text of [undefined, a, `PID:${a}`, `PID: SN:x`, `SN:x PID:${a}`]) {
      expect(productOfDevice(text)).toBeUndefined();
    }
  });
});

describe("a device's product", () => {
  const certificate = async (subject: string): Promise<string> => {
    const path = join(await temporaryDirectory(), "server.crt");
    await writeFile(path, (await make({ subject: [{ "2.5.4.5": [subject] }, { CN: ["machine-1"] }] })).pem);
    return path;
  };
  const policy = (product?: string) => ({ ...builtInPolicy, ...(product === undefined ? {} : { product }) });

  test("is what its certificate says, or its policy, or nothing", async () => {
    const path = await certificate(`PID:${a} SN:machine-1`);
    expect(await deviceProduct(policy(), [path])).toMatchObject({ product: a });
    expect(await deviceProduct(policy(a), [path])).toMatchObject({ product: a });
    expect(await deviceProduct(policy(b), [])).toMatchObject({ product: b });
    expect(await deviceProduct(policy(), [])).toBeUndefined();
  });

  test("is unknown when policy and certificate differ, or the certificate names none", async () => {
    const refused = { code: "product-mismatch" };
    await expect(deviceProduct(policy(b), [await certificate(`PID:${a} SN:1`)])).rejects.toMatchObject(
      refused,
    );
    await expect(deviceProduct(policy(), [await certificate("machine-1")])).rejects.toMatchObject(refused);
    const broken = join(await temporaryDirectory(), "server.crt");
    await writeFile(broken, "hello");
    await expect(deviceProduct(policy(), [broken])).rejects.toMatchObject(refused);
  });
});
