import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeResponseCode,
  formatResponseCode,
  isTpmAnswer,
  TpmError,
} from "../../../src/tpm/response-code.ts";

const said = (code: number): string => formatResponseCode(decodeResponseCode(code));

describe("a response code", () => {
  // Values from Part 2, section 6.6.3, with the bits of 6.6.2.
  test.for([
    [0x99d, "TPM_RC_POLICY_FAIL (session 1)"],
    [0x98e, "TPM_RC_AUTH_FAIL (session 1)"],
    [0xa8e, "TPM_RC_AUTH_FAIL (session 2)"],
    [0x9a2, "TPM_RC_BAD_AUTH (session 1)"],
    [0x1c4, "TPM_RC_VALUE (parameter 1)"],
    [0xfd5, "TPM_RC_SIZE (parameter 15)"],
    [0x18b, "TPM_RC_HANDLE (handle 1)"],
    [0x28b, "TPM_RC_HANDLE (handle 2)"],
    [0x08b, "TPM_RC_HANDLE"],
    [0x0a1, "TPM_RC_RESERVED_BITS"],
    [0x3e1, "TPM_RC_RESERVED_BITS (parameter 3)"],
    [0x3e7, "TPM_RC_ECC_POINT (parameter 3)"],
    [0x100, "TPM_RC_INITIALIZE"],
    [0x148, "TPM_RC_NV_LOCKED"],
    [0x14a, "TPM_RC_NV_UNINITIALIZED"],
    [0x143, "TPM_RC_COMMAND_CODE"],
    [0x01e, "TPM_RC_BAD_TAG"],
    [0x921, "TPM_RC_LOCKOUT"],
    [0x922, "TPM_RC_RETRY"],
    [0x0b0143, "TPM_RC_COMMAND_CODE, said the resource manager"],
    [0x070001, "0x70001 (not in the specification), said layer 7"],
    [0x5a5, "TPM_RC_BINDING (handle 5)"],
    [0x500, "0x500 (the vendor's own)"],
  ] as const)("0x%x is said as it is in the specification", ([code, expected]) => {
    expect(said(code)).toBe(expected);
  });

  test("of any value can be shown, and keeps its value", () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (value) => {
        const code = decodeResponseCode(value);
        expect(code.value).toBe(value);
        expect(formatResponseCode(code)).toMatch(/^(TPM_RC_[A-Z0-9_]+|0x[0-9a-f]+ \()/);
      }),
    );
  });

  test("is found by its name, and a lockout has a code of its own", () => {
    const error = new TpmError("TPM2_Unseal", decodeResponseCode(0x99d));
    expect(error.code).toBe("tpm-refused");
    expect(error.message).toBe(
      "cannot carry out TPM2_Unseal: the TPM answered TPM_RC_POLICY_FAIL (session 1)",
    );
    expect(isTpmAnswer(error, "TPM_RC_VALUE", "TPM_RC_POLICY_FAIL")).toBe(true);
    expect(isTpmAnswer(error, "TPM_RC_VALUE")).toBe(false);
    expect(isTpmAnswer(new Error("TPM_RC_VALUE"), "TPM_RC_VALUE")).toBe(false);
    expect(new TpmError("TPM2_Unseal", decodeResponseCode(0x921)).code).toBe("tpm-lockout");
  });
});
