// The policy decides about everything else: it is the first file that is there, exactly as written, or nothing runs.
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { builtInPolicy, loadPolicy, type PolicyDocument } from "../../../src/trust/policy.ts";
import { temporaryDirectory } from "../../support.ts";

const good: PolicyDocument = {
  version: 1,
  anchors: ["initrd", "efi-db", "tpm-nv:0x01500063", "file:/etc/mos/manifestCA.pem"],
  product: "bc564363-2a8e-44fe-bb0e-54c7f9988ecf",
  signatures: 2,
  tpm: "required",
  revoked: ["a".repeat(64)],
  bootOn: ["applied", "no-state"],
  signedFiles: "required",
  machine: "0a1b-2c3d",
  classes: ["lab", "kiosk"],
};

let directory: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
});

const path = (name: string) => join(directory, name);
const write = (document: unknown, name = "policy.json") => writeFile(path(name), JSON.stringify(document));
const load = (...names: readonly string[]) => loadPolicy(names.map(path), builtInPolicy);

describe("a trust policy", () => {
  test("is the built-in one where there is no file", async () => {
    expect(await load("policy.json")).toEqual(builtInPolicy);
    expect(builtInPolicy.anchors[0]).toBe("initrd");
  });

  test("is the first file that is there, whatever the next ones say", async () => {
    await write(good, "second.json");
    await write({ version: 1, anchors: ["file:/other.pem"] }, "third.json");
    expect(await load("first.json", "second.json", "third.json")).toEqual({
      ...good,
      source: path("second.json"),
    });
  });

  test("asks for one signer, and for no TPM, where it does not say", async () => {
    await write({ version: 1, anchors: ["initrd"] });
    expect(await load("policy.json")).toMatchObject({ signatures: 1, tpm: "optional", revoked: [] });
  });

  test("that is broken is not passed over for one that is not", async () => {
    await writeFile(path("first.json"), "{");
    await write(good, "second.json");
    await expect(load("first.json", "second.json")).rejects.toMatchObject({ code: "policy-invalid" });
  });

  test.each<[string, Record<string, unknown>]>([
    ["a version to come", { version: 2 }],
    ["no anchors", { anchors: [] }],
    ["an anchor of an unknown kind", { anchors: ["http://example.com/ca.pem"] }],
    ["a file with a relative path", { anchors: ["file:ca.pem"] }],
    ["an NV index that is none", { anchors: ["tpm-nv:0x81000001"] }],
    ["an NV index in another spelling", { anchors: ["tpm-nv:22020195"] }],
    ["no signatures", { signatures: 0 }],
    ["an outcome of the initrd that there is not", { bootOn: ["applied", "perhaps"] }],
    ["a device that never boots", { bootOn: ["no-state"] }],
    ["more signatures than are looked at", { signatures: 17 }],
    ["a TPM that may be there", { tpm: "maybe" }],
    ["a revoked thing that is no SHA-256", { revoked: ["abc"] }],
    ["a class twice", { classes: ["lab", "kiosk", "lab"] }],
    ["a class that is no word", { classes: ["the lab"] }],
    ["a machine without a name", { machine: "" }],
    ["a key that it does not have", { signature: 1 }],
  ])("with %s is refused", async (_, change) => {
    await write({ ...good, ...change });
    await expect(load("policy.json")).rejects.toMatchObject({ code: "policy-invalid" });
  });

  test.each([0o664, 0o646, 0o666])("that others may write to (mode %o) is refused", async (mode) => {
    await write(good);
    await chmod(path("policy.json"), mode);
    await expect(load("policy.json")).rejects.toMatchObject({ code: "policy-invalid", hint: /chmod 644/ });
  });

  test("of any bytes is a policy or refused, never something else", async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string(), fc.uint8Array()), async (content) => {
        await writeFile(path("policy.json"), content);
        await expect(load("policy.json")).rejects.toMatchObject({ code: "policy-invalid" });
      }),
      { numRuns: 50 },
    );
  });
});
