// Where an answer sends a request on to, and under which rules mos goes there (attack A18). Pure.
import { MosError } from "../errors/mos-error.ts";
import type { RequestAbout } from "./http-body.ts";

/** What is looked at of an answer. */
interface Answer {
  readonly status: number;
  /** Where it came from. */
  readonly url: URL;
  header(name: string): string | undefined;
}

/** Where a request goes, and with which Authorization header. */
export interface Hop {
  readonly url: URL;
  readonly authorization?: string | undefined;
}

const redirectStatuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Whether a status leads elsewhere (RFC 9110 section 15.4); 304 and the others do not. */
export function isRedirect(status: number): boolean {
  return redirectStatuses.has(status);
}

/**
 * The Location of a redirect or an upload.
 * @param doing begins an error's sentence: `cannot fetch …`
 * @throws MosError `registry-invalid` when it is missing, malformed, with credentials, or leads away from https
 */
export function resolveLocation(answer: Answer, doing: string): URL {
  const location = answer.header("location");
  const refuse = (why: string): never => {
    throw new MosError("registry-invalid", `${doing}: ${answer.url.host} ${why}`, {
      about: answer.url.host,
    });
  };
  if (location === undefined) return refuse(`answered ${answer.status} without saying where to go`);
  const url = URL.parse(location, answer.url);
  if (url === null) return refuse("names a place that is no URL");
  if (url.protocol !== "https:" && url.protocol !== "http:") return refuse(`leads to ${url.protocol}`);
  if (url.protocol === "http:" && answer.url.protocol === "https:") {
    return refuse("leads from https to plain http, which is refused");
  }
  if (url.username !== "" || url.password !== "") return refuse("puts credentials into a URL");
  return url;
}

/**
 * The next hop of a redirected request. Once it leads to another origin, the credentials stay behind, also when a
 * later hop leads back.
 * @param followed redirects of this request that were followed before
 * @param start the request as it was made, for messages and limits
 * @throws MosError `registry-invalid` beyond the limit of redirects, and as {@link resolveLocation}
 */
export function nextHop(answer: Answer, from: Hop, followed: number, start: RequestAbout): Hop {
  const { doing, host, limits } = start;
  if (followed >= limits.redirects) {
    throw new MosError(
      "registry-invalid",
      `${doing}: ${host} redirects more than ${limits.redirects} times`,
      {
        about: host,
      },
    );
  }
  const url = resolveLocation(answer, doing);
  return { url, authorization: url.origin === from.url.origin ? from.authorization : undefined };
}
