// Connections through a proxy: which one is for whom, and the tunnel that it makes (RFC 9110 section 9.3.6, CONNECT).
// All goes through a tunnel, plain http too: so a proxy never sees a request, and one way is enough.
import type { Agent, ClientRequestArgs } from "node:http";
import { BlockList, connect, isIP, Socket } from "node:net";
import { MosError } from "../errors/mos-error.ts";
import { isLoopbackHost } from "./authority.ts";
import { connectionError } from "./connection-error.ts";
import { endOfHead } from "./http-head.ts";
import type { RegistryLimits } from "./limits.ts";

interface Proxy {
  readonly host: string;
  readonly port: number;
  /** For messages: host and port. */
  readonly name: string;
  /** Value of Proxy-Authorization. */
  readonly authorization: string | undefined;
}

/** The proxy for a URL; undefined where there is none to go through. */
export type Proxies = (url: URL) => Proxy | undefined;

interface ProxySettings {
  /** URL of the proxy for plain http. */
  readonly http: string | undefined;
  /** URL of the proxy for https. */
  readonly https: string | undefined;
  readonly except: readonly string[];
  /** `USER:PASSWORD`, where the URL has none. */
  readonly userinfo?: string | undefined;
}

type Match = (host: string, port: number) => boolean;

/** The host of a URL as a socket takes it: without the brackets of an IPv6 address. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1");
}

function portOf(url: URL): number {
  return url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 4 ? "ipv4" : "ipv6";
}

/** An entry of `except`. What nobody can be meant by matches nothing. */
function matcherOf(given: string): Match {
  const entry = given.trim().toLowerCase();
  if (entry === "*") return () => true;
  const [, address = "", bits] = /^([0-9a-f.:]+)\/([0-9]{1,3})$/.exec(entry) ?? [];
  if (bits !== undefined && isIP(address) !== 0 && Number(bits) <= (isIP(address) === 4 ? 32 : 128)) {
    const range = new BlockList();
    range.addSubnet(address, Number(bits), familyOf(address));
    return (host) => isIP(host) !== 0 && range.check(host, familyOf(host));
  }
  if (isIP(entry) !== 0) return (host) => host === entry;
  const [, name = "", port] = /^\[?(.*?)\]?(?::([0-9]{1,5}))?$/.exec(entry) ?? [];
  const isHost: Match = (host) =>
    name.startsWith(".") ? host.endsWith(name) : host === name || host.endsWith(`.${name}`);
  return (host, at) => name !== "" && (port === undefined || Number(port) === at) && isHost(host, at);
}

function proxyOf(text: string, userinfo: string | undefined): Proxy {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (url === null || url.protocol !== "http:" || url.hostname === "" || url.pathname !== "/") {
    // Not the text itself: it may have a password.
    throw new MosError("fetch-settings-invalid", "cannot use the proxy: it is not http://HOST:PORT", {
      about: url === null ? "proxy" : url.host,
    });
  }
  const own = url.username === "" ? undefined : `${decoded(url.username)}:${decoded(url.password)}`;
  const credential = userinfo ?? own;
  return {
    host: hostOf(url),
    port: portOf(url),
    name: url.host,
    authorization:
      credential === undefined ? undefined : `Basic ${Buffer.from(credential).toString("base64")}`,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns what throws MosError `fetch-settings-invalid` where a proxy is to be used that cannot be */
export function proxiesOf({ http, https, except, userinfo }: ProxySettings): Proxies {
  const matchers = except.map(matcherOf);
  return (url) => {
    const [host, port] = [hostOf(url), portOf(url)];
    if (isLoopbackHost(host) || matchers.some((matches) => matches(host, port))) return undefined;
    const text = url.protocol === "https:" ? https : http;
    return text === undefined || text === "" ? undefined : proxyOf(text, userinfo);
  };
}

/**
 * What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say; their lower-case forms come first, as in curl(1).
 * @returns as {@link proxiesOf}
 */
export function environmentProxies(environment: Readonly<Record<string, string | undefined>>): Proxies {
  const of = (name: string): string | undefined => environment[name.toLowerCase()] ?? environment[name];
  const except = (of("NO_PROXY") ?? "").split(",").filter((entry) => entry.trim() !== "");
  return proxiesOf({ http: of("HTTP_PROXY"), https: of("HTTPS_PROXY"), except });
}

function refused(proxy: Proxy, target: string, why: string, hint?: string, cause?: unknown): MosError {
  return new MosError("proxy-refused", `cannot reach ${target} through the proxy ${proxy.name}: ${why}`, {
    about: proxy.name,
    ...(hint === undefined ? {} : { hint }),
    cause,
  });
}

/** What a proxy's answer means; a tunnel is any 2xx. */
function checkAnswer(head: Buffer, proxy: Proxy, target: string): void {
  const status = /^HTTP\/1\.[01] ([0-9]{3})[ \r]/.exec(head.toString("latin1", 0, 16))?.[1];
  if (status?.startsWith("2")) return;
  if (status === undefined) throw refused(proxy, target, "it does not answer in HTTP");
  if (status !== "407") throw refused(proxy, target, `it answered ${status}`);
  throw proxy.authorization === undefined
    ? refused(
        proxy,
        target,
        "it wants a name and password (407)",
        "Name a file with them: proxy.passwordFile.",
      )
    : refused(proxy, target, "it does not accept the name and password (407)");
}

/**
 * A connection to `host:port` through the proxy.
 * @throws MosError `proxy-refused`
 */
function openTunnel(
  proxy: Proxy,
  { host, port }: { readonly host: string; readonly port: number },
  { connectMs, headerBytes }: RegistryLimits,
): Promise<Socket> {
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const socket = connect({ host: proxy.host, port: proxy.port });
  let head = Buffer.alloc(0);
  return new Promise<Socket>((resolve, reject) => {
    const fail = (error: unknown): void => {
      finish();
      socket.destroy();
      const { message } = connectionError(error, `cannot reach ${target} through the proxy`, proxy.name);
      reject(
        error instanceof MosError
          ? error
          : new MosError("proxy-refused", message, { about: proxy.name, cause: error }),
      );
    };
    const timer = setTimeout(
      () => fail(refused(proxy, target, `there is no connection within ${connectMs / 1000} s`)),
      connectMs,
    );
    const onEnd = (): void => fail(refused(proxy, target, "it closed the connection"));
    const onReadable = (): void => {
      for (let piece: unknown = socket.read(); Buffer.isBuffer(piece); piece = socket.read()) {
        head = Buffer.concat([head, piece]);
      }
      const end = endOfHead(head);
      if (end < 0 && head.length <= headerBytes) return;
      try {
        if (end < 0) throw refused(proxy, target, "it answered with too large headers");
        checkAnswer(head, proxy, target);
        // The far side speaks second, in HTTP and in TLS.
        if (end !== head.length) throw refused(proxy, target, "it said more than it was asked");
      } catch (error) {
        fail(error);
        return;
      }
      finish();
      resolve(socket);
    };
    const finish = (): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable).off("error", fail).off("end", onEnd).off("close", onEnd);
    };
    socket.on("error", fail).on("end", onEnd).on("close", onEnd).on("readable", onReadable);
    const credentials =
      proxy.authorization === undefined ? "" : `Proxy-Authorization: ${proxy.authorization}\r\n`;
    socket.write(
      `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nUser-Agent: mos\r\n${credentials}\r\n`,
      "latin1",
    );
  });
}

/** Makes an agent's connections go through the proxies, where there are any for them. */
export function throughProxies<A extends Agent>(
  agent: A,
  scheme: "http" | "https",
  proxies: Proxies,
  limits: RegistryLimits,
): A {
  const direct = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const { host, port } = targetOf(options, scheme);
    const url = URL.parse(`${scheme}://${isIP(host) === 6 ? `[${host}]` : host}:${port}`);
    const proxy = url === null ? undefined : proxies(url);
    if (proxy === undefined || callback === undefined) return direct(options, callback);
    openTunnel(proxy, { host, port }, limits).then(
      (socket) => {
        // Node's types do not know that an agent for https takes a socket to speak TLS over (tls.connect).
        const made = scheme === "http" ? socket : direct(Object.assign({}, options, { socket }));
        callback(null, made ?? socket);
      },
      // Of a failure it takes the error only.
      (error: Error) => callback(error, new Socket()),
    );
    return undefined;
  };
  return agent;
}

function targetOf({ host, port }: ClientRequestArgs, scheme: "http" | "https") {
  return { host: host ?? "localhost", port: Number(port ?? (scheme === "https" ? 443 : 80)) };
}
