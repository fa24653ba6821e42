import { describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { installerFiles } from "../../../src/image/image-trust.ts";

const file = (name: string, text: string) => ({
  ...{ path: `etc/mos/initrd/${name}`, mode: 0o644, content: Buffer.from(text) },
});
const policy = file("policy.json", '{"version":1,"anchors":["initrd"],"tpm":"required"}');
const approval = file("pcr7data/policy-1/pubkeys/luks-demo.pem", "");

describe("what an installer says about trust", () => {
  test("is what the system says, when it does not provision", () => {
    expect(installerFiles([policy], undefined)).toEqual([policy]);
  });

  test("does not require the TPM that it is about to provision, and says everything else", () => {
    const [changed, ...others] = installerFiles([policy, approval], "device");
    const content = { version: 1, anchors: ["initrd"], tpm: "optional" };
    expect(JSON.parse(Buffer.from(changed?.content ?? []).toString())).toEqual(content);
    expect(others).toEqual([approval]);
  });

  test("has to say under which PCR 7 what it provisions can be read", () => {
    expect(() => installerFiles([policy], "medium")).toThrow(MosError);
    expect(() => installerFiles([policy], "medium")).toThrow(/has approved no PCR 7/);
  });
});
