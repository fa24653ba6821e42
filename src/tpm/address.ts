// Where a TPM is, as people write it: `device:/dev/tpmrm0`, `swtpm:/run/swtpm.sock`, `swtpm:localhost:2321`.
import { MosError } from "../errors/mos-error.ts";

export type TpmAddress =
  | { readonly kind: "device"; readonly path: string }
  | { readonly kind: "socket"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/** The kernel's TPM behind its resource manager, which swaps objects and sessions of several programs. */
export const defaultTpm: TpmAddress = { kind: "device", path: "/dev/tpmrm0" };

/** Parses the address of a TPM. @throws MosError `tpm-address-invalid` */
export function parseTpmAddress(text: string): TpmAddress {
  const path = /^(device|swtpm):(\/.+)$/.exec(text);
  if (path?.[2] !== undefined && !text.includes("\0")) {
    return { kind: path[1] === "device" ? "device" : "socket", path: path[2] };
  }
  const tcp = /^swtpm:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})$/.exec(text);
  const port = Number(tcp?.[2]);
  if (tcp?.[1] !== undefined && port >= 1 && port <= 65535) {
    return { kind: "tcp", host: tcp[1].replace(/^\[|\]$/g, ""), port };
  }
  throw new MosError("tpm-address-invalid", `cannot understand ${JSON.stringify(text)} as a TPM's address`, {
    about: text,
  });
}

/** The text that {@link parseTpmAddress} reads back. */
export function formatTpmAddress(address: TpmAddress): string {
  switch (address.kind) {
    case "device":
      return `device:${address.path}`;
    case "socket":
      return `swtpm:${address.path}`;
    case "tcp":
      return `swtpm:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
  }
}
