// What Node says when a connection fails, as the errors of the catalogue. Pure.
import { MosError, systemCode } from "../errors/mos-error.ts";
import { escapeText } from "./registry-answer.ts";

/** Codes that say that the far side speaks, but not HTTP. */
const isProtocolError = (code: string): boolean => code.startsWith("HPE_") || code === "ERR_INVALID_URL";

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there (connection refused)",
  ECONNRESET: "the connection was closed by the other side",
  EPIPE: "the connection was closed by the other side",
  ENOTFOUND: "its name is not known to DNS",
  EAI_AGAIN: "DNS does not answer",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no network",
  ETIMEDOUT: "it does not answer",
  EPROTO: "it does not speak TLS",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "it does not speak TLS",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed and not known here",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate leads to an authority that is not known here",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate leads to no authority that is known here",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate leads to no authority that is known here",
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another host",
};

const plainHint = "If it is a registry without TLS, write http:// before its address.";

const hints: Readonly<Record<string, string>> = {
  EPROTO: plainHint,
  ERR_SSL_WRONG_VERSION_NUMBER: plainHint,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: plainHint,
  CERT_HAS_EXPIRED: "Check this machine's clock, then ask whoever runs the registry.",
  CERT_NOT_YET_VALID: "Check this machine's clock.",
};

const authorityHint = "Install the registry's CA with update-ca-certificates.";

/**
 * The error of a connection that could not be made or broke.
 * @param doing begins the sentence: `cannot fetch …`
 * @param about host and port
 */
export function connectionError(error: unknown, doing: string, about: string): MosError {
  if (error instanceof MosError) return error;
  const code = systemCode(error) ?? "";
  const message = escapeText(error instanceof Error ? error.message : String(error));
  if (code === "HPE_HEADER_OVERFLOW") {
    return new MosError("registry-invalid", `${doing}: ${about} answered with too large headers`, {
      about,
      cause: error,
    });
  }
  if (isProtocolError(code)) {
    return new MosError("registry-invalid", `${doing}: ${about} does not answer in HTTP (${message})`, {
      about,
      cause: error,
    });
  }
  const reason = reasons[code] ?? (message === "" ? code : message);
  const hint = hints[code] ?? (/CERT|UNABLE_TO/.test(code) ? authorityHint : undefined);
  return new MosError("registry-unreachable", `${doing}: ${about} cannot be reached: ${reason}`, {
    about,
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}
