// What the headers of a registry's answers say, and what of it is believed.
import { MosError } from "../errors/mos-error.ts";
import type { HttpResponse } from "./http.ts";
import { escapeText } from "./registry-answer.ts";

const dockerFormats = /^application\/vnd\.docker\.distribution\./;

/** Content-Type in lower case, without its parameters. */
export function contentType(response: HttpResponse): string {
  return (response.header("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/**
 * The media type of a manifest's answer. What is no manifest is not read: a captive portal answers 200, too.
 * @param asked the types that were asked for
 * @throws MosError `registry-invalid`, `document-invalid` for Docker's formats that were not asked for
 */
export async function manifestType(
  response: HttpResponse,
  asked: readonly string[],
  doing: string,
  about: string,
): Promise<string> {
  const type = contentType(response);
  if (asked.includes(type)) return type;
  await response.discard();
  if (dockerFormats.test(type)) {
    throw new MosError("document-invalid", `${doing}: it is in Docker's format, not in OCI's`, {
      about,
      hint: "Convert it: skopeo copy --format oci docker://SOURCE docker://DESTINATION",
    });
  }
  throw new MosError(
    "registry-invalid",
    `${doing}: the answer is ${type === "" ? "of no type" : escapeText(type)}, not an image manifest`,
    { about, hint: "Is this address an OCI registry? A network that wants a log-in answers like this, too." },
  );
}

/** The next page of a list (RFC 8288), of this registry and nobody else. */
export function nextPage(response: HttpResponse): URL | undefined {
  const link = /^<([^<>]{1,2048})>;[ \t]*rel="?next"?/i.exec(response.header("link") ?? "")?.[1];
  const url = link === undefined ? null : URL.parse(link, response.url);
  return url !== null && url.origin === response.url.origin ? url : undefined;
}
