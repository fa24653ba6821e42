// An HTTP proxy for tests, which makes tunnels to this machine whatever host it is asked for: so a name that is in no
// DNS can be reached through it, and only through it.
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { listen } from "./bad-registry.ts";

interface Behaviour {
  /** `USER:PASSWORD` that it wants. */
  readonly userinfo?: string;
  /** Answers in its place, when it is given. */
  readonly answer?: (socket: Socket) => void;
}

interface RunningProxy {
  /** `127.0.0.1:PORT` */
  readonly authority: string;
  /** What it was asked to connect to. */
  readonly asked: string[];
  /** Proxy-Authorization as it came. */
  readonly credentials: (string | undefined)[];
}

export async function startProxy({ userinfo, answer }: Behaviour = {}): Promise<RunningProxy> {
  const [asked, credentials]: [string[], (string | undefined)[]] = [[], []];
  const expected = userinfo === undefined ? undefined : `Basic ${Buffer.from(userinfo).toString("base64")}`;
  // A request that is none for a tunnel is not what it is there for.
  const server = createServer((_, response) => response.writeHead(400).end());
  server.on("connect", ({ url = "", headers }, client: Socket) => {
    asked.push(url);
    credentials.push(headers["proxy-authorization"]);
    client.on("error", () => undefined);
    if (answer !== undefined) {
      answer(client);
      return;
    }
    if (expected !== undefined && headers["proxy-authorization"] !== expected) {
      client.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm="p"\r\n\r\n',
      );
      return;
    }
    const far = connect(Number(url.split(":").at(-1)), "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection established\r\nVia: a\r\nVia: b\r\n\r\n");
      far.pipe(client).pipe(far);
    });
    onTestFinished(() => {
      far.destroy();
    });
    far.on("error", () => client.destroy());
    client.on("close", () => far.destroy());
  });
  return { authority: `127.0.0.1:${await listen(server)}`, asked, credentials };
}
