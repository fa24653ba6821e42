// How a registry is told who asks: anonymous, Basic (RFC 7617) or a bearer token from the token server that the
// registry names (distribution's "Token Authentication Specification"). Secrets leave only in headers and bodies
// of the requests that need them; no error and no log has them.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { isLoopbackHost } from "./authority.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credential } from "./credentials.ts";
import type { HttpClient, HttpResponse } from "./http.ts";
import type { Scheme } from "./reference.ts";

const tokenSchema = z.object({ token: z.string().optional(), access_token: z.string().optional() });

/** RFC 6750 section 2.1. A registry's token is a few kilobytes at most. */
const tokenPattern = /^[A-Za-z0-9\-._~+/]+=*$/;
const maxToken = 16 * 1024;

interface Asked {
  readonly scheme: Scheme;
  readonly authority: string;
  /** `repository:NAME:pull` or `repository:NAME:pull,push`, where the registry does not say. */
  readonly scope: string;
  /** Begins an error's sentence. */
  readonly doing: string;
}

/**
 * The Authorization header that answers a 401.
 * @throws MosError `registry-unauthorized`, `registry-invalid`, and what the exchange with the token server throws
 */
export async function authorize(
  http: HttpClient,
  challenge: string | undefined,
  credential: Credential | undefined,
  asked: Asked,
): Promise<string> {
  const challenges = parseChallenges(challenge ?? "");
  const bearer = challenges.find(({ scheme }) => scheme === "bearer");
  if (bearer !== undefined) return `Bearer ${await fetchToken(http, bearer, credential, asked)}`;
  if (challenges.some(({ scheme }) => scheme === "basic")) {
    if (credential === undefined || credential.user === "") throw unauthorized(asked, "wants credentials");
    return basic(credential);
  }
  throw new MosError(
    "registry-invalid",
    `${asked.doing}: ${asked.authority} wants credentials, but not in a way that mos knows (Basic or Bearer)`,
    { about: asked.authority },
  );
}

/** The error of a registry that refuses who asks. */
export function unauthorized(
  { doing, authority }: Pick<Asked, "doing" | "authority">,
  why: string,
): MosError {
  return new MosError("registry-unauthorized", `${doing}: ${authority} ${why}`, {
    about: authority,
    hint: `skopeo login ${authority}; mos reads the auth.json that it writes.`,
  });
}

function basic({ user, password }: Credential): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function realmOf(bearer: Challenge, { scheme, authority, doing }: Asked): URL {
  const refuse = (why: string): never => {
    throw new MosError("registry-invalid", `${doing}: ${authority} names a token server ${why}`, {
      about: authority,
    });
  };
  const realm = URL.parse(bearer.parameters.get("realm") ?? "");
  if (realm === null) return refuse("that is no URL");
  if (realm.protocol !== "https:" && realm.protocol !== "http:") return refuse("that is not HTTP");
  if (realm.username !== "" || realm.password !== "") return refuse("with credentials in its URL");
  // Credentials go there: what was asked for over TLS is not told in the clear, nor to another machine at all.
  const isClear = realm.protocol === "http:";
  if (isClear && (scheme === "https" || !(isSameHost(realm, authority) || isLoopbackHost(realm.hostname)))) {
    return refuse("over plain http, which is refused");
  }
  return realm;
}

function isSameHost(realm: URL, authority: string): boolean {
  return realm.hostname === URL.parse(`http://${authority}`)?.hostname;
}

async function fetchToken(
  http: HttpClient,
  bearer: Challenge,
  credential: Credential | undefined,
  asked: Asked,
): Promise<string> {
  const realm = realmOf(bearer, asked);
  const service = bearer.parameters.get("service");
  const scope = bearer.parameters.get("scope") ?? asked.scope;
  const response =
    credential?.identityToken === undefined
      ? await askToken(http, realm, service, scope, credential, asked)
      : await exchangeToken(http, realm, service, scope, credential.identityToken, asked);
  if (response.status === 401 || response.status === 403) {
    await response.discard();
    throw unauthorized(
      asked,
      credential === undefined
        ? "wants credentials"
        : "wants other credentials: its token server refused these",
    );
  }
  if (response.status !== 200) {
    await response.discard();
    throw new MosError(
      "registry-refused",
      `${asked.doing}: the token server ${realm.host} answered ${response.status}`,
      { about: realm.host },
    );
  }
  return readToken(await response.all(http.limits.tokenBytes), realm, asked);
}

/** "Token Authentication Specification": GET with the credentials as Basic. */
async function askToken(
  http: HttpClient,
  realm: URL,
  service: string | undefined,
  scope: string,
  credential: Credential | undefined,
  { doing }: Asked,
): Promise<HttpResponse> {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  // One challenge may name several scopes, separated by spaces; each is a parameter of its own.
  for (const one of scope.split(" ")) if (one !== "") url.searchParams.append("scope", one);
  return await http.exchange({
    method: "GET",
    url,
    doing,
    ...(credential === undefined || credential.user === "" ? {} : { authorization: basic(credential) }),
  });
}

/** "Oauth2 Token Authentication": POST with the identity token. */
async function exchangeToken(
  http: HttpClient,
  url: URL,
  service: string | undefined,
  scope: string,
  identityToken: string,
  { doing }: Asked,
): Promise<HttpResponse> {
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    service: service ?? "",
    client_id: "mos",
    scope,
    refresh_token: identityToken,
  });
  const bytes = new TextEncoder().encode(form.toString());
  return await http.exchange({
    method: "POST",
    url,
    doing,
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: { length: bytes.length, pieces: piecesOf(bytes) },
  });
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function readToken(bytes: Uint8Array, realm: URL, { doing }: Asked): string {
  const refuse = (): never => {
    throw new MosError("registry-invalid", `${doing}: the token server ${realm.host} sent no usable token`, {
      about: realm.host,
    });
  };
  let document: unknown;
  try {
    document = parseJson(bytes, realm.host);
  } catch {
    return refuse();
  }
  const result = tokenSchema.safeParse(document);
  const token = result.success ? (result.data.token ?? result.data.access_token ?? "") : "";
  return token.length <= maxToken && tokenPattern.test(token) ? token : refuse();
}
