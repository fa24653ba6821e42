// Where the TPM is, as several commands are told.
import { defaultTpm, parseTpmAddress, type TpmAddress } from "../tpm/address.ts";

export const tpmFlag = {
  kind: "parsed",
  parse: parseTpmAddress,
  brief: "The TPM (default: device:/dev/tpmrm0)",
  placeholder: "device:PATH|swtpm:SOCKET",
  optional: true,
} as const;

/** What {@link tpmFlag} makes of a command's flags. */
export interface TpmFlag {
  readonly tpm?: TpmAddress;
}

export function tpmOf({ tpm }: TpmFlag): TpmAddress {
  return tpm ?? defaultTpm;
}
