// How a device fetches: mirrors, proxy, limits. One JSON file, checked whole; none of it is trusted to say what is
// fetched, which only signatures and digests do.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { readTrusted } from "../trust/trusted-file.ts";
import { defaultLimits, type RegistryLimits } from "./limits.ts";
import type { Network } from "./open.ts";
import { environmentProxies, type Proxies, proxiesOf } from "./proxy.ts";
import { RateLimit } from "./rate-limit.ts";
import { parseBase, parseHost } from "./reference.ts";

/** A string that `parse` accepts; its error's sentence is the problem. */
function parsedBy(parse: (text: string) => unknown): z.ZodType<string, string> {
  return z.string().superRefine((text, context) => {
    try {
      parse(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : "is not valid" });
    }
  });
}

const proxySchema = z.strictObject({
  url: z
    .string()
    .regex(/^http:\/\/[^/@?#\s]+\/?$/, "must be http://HOST:PORT, without a name or password")
    .describe("`http://HOST:PORT` of a proxy that makes connections for others (`CONNECT`)."),
  passwordFile: z
    .string()
    .regex(/^\/[^\0]+$/, "must be an absolute path")
    .optional()
    .describe(
      "A file with one line `USER:PASSWORD` for the proxy, that only root can read (mode 0600). They are told to the proxy, nobody else.",
    ),
  except: z
    .array(z.string().min(1).max(255))
    .max(64)
    .default([])
    .describe(
      "What is reached without the proxy: a host with all below it (`example.com`), only what is below it (`.example.com`), either with `:PORT` when only that port is meant; an address or a range of them (`10.0.0.0/8`); `*`. This machine itself never goes through a proxy.",
    ),
});

const seconds = z.number().min(0.1).max(3600);

const patienceSchema = z.strictObject({
  connect: seconds.default(defaultLimits.connectMs / 1000).describe("Seconds for name, connection and TLS."),
  answer: seconds.default(defaultLimits.headersMs / 1000).describe("Seconds until an answer begins."),
  idle: seconds.default(defaultLimits.idleMs / 1000).describe("Seconds in which nothing comes at all."),
  bytesPerSecond: z
    .int()
    .min(1)
    .max(1_000_000_000)
    .default(defaultLimits.minBytesPerSecond)
    .describe("What is slower than this, on average over `window`, is given up."),
  window: seconds
    .default(defaultLimits.rateWindowMs / 1000)
    .describe("Seconds of waiting for the far side, over which `bytesPerSecond` is counted."),
});

export const fetchSettingsSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is").describe("Version of this format."),
  mirrors: z
    .record(parsedBy(parseHost), z.array(parsedBy(parseBase)).min(1).max(8))
    .default({})
    .describe(
      "By registry, as references name it (`HOST` or `HOST:PORT`): up to 8 other places, each `[http://]HOST[:PORT][/PATH]`, for what it has.",
    ),
  proxy: proxySchema
    .optional()
    .describe("A proxy to go through to registries, mirrors and token servers, over TLS or not."),
  rateLimit: z
    .int()
    .min(1024)
    .max(10_000_000_000)
    .optional()
    .describe("Bytes per second that all downloads together take at most; without it as many as come."),
  parallel: z.int().min(1).max(8).default(3).describe("Images, then layers, that are fetched at a time."),
  patience: patienceSchema.prefault({}).describe("When a host is given up, and the next place is asked."),
});

type FetchSettings = z.output<typeof fetchSettingsSchema>;

const maxSize = 64 * 1024;

/**
 * The settings in the first of these files that is there; those that hold without a file when none is.
 * @throws MosError `fetch-settings-invalid`, also when others than its owner may write to the file
 */
export async function loadFetchSettings(paths: readonly string[]): Promise<FetchSettings> {
  for (const path of paths) {
    const file = await readTrusted(path, maxSize, "fetch-settings-invalid");
    if (file === undefined) continue;
    if (!file.isPrivate) {
      throw invalid(path, "others than root may write to it", `chown root:root ${path}; chmod 644 ${path}`);
    }
    return parseSettings(file.bytes, path);
  }
  return fetchSettingsSchema.parse({ version: 1 });
}

function invalid(path: string, why: string, hint?: string, problems: readonly string[] = []): MosError {
  return new MosError("fetch-settings-invalid", `cannot use ${path}: ${why}`, {
    about: path,
    problems,
    ...(hint === undefined ? {} : { hint }),
  });
}

function parseSettings(bytes: Uint8Array, path: string): FetchSettings {
  let document: unknown;
  try {
    document = parseJson(bytes, path);
  } catch (error) {
    throw invalid(path, error instanceof Error ? error.message : "it is not JSON");
  }
  const result = fetchSettingsSchema.safeParse(document);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) =>
    issue.code === "unrecognized_keys"
      ? `${issue.keys.join(", ")}: unknown key`
      : `${issue.path.join(".") || "document"}: ${issue.message}`,
  );
  throw invalid(path, problems[0] ?? "it is not valid", undefined, problems);
}

/** `USER:PASSWORD`, as Proxy-Authorization takes it (RFC 7617: no colon in the user, no control characters). */
async function readPassword(path: string): Promise<string> {
  const file = await readTrusted(path, 4096, "fetch-settings-invalid");
  if (file === undefined) throw invalid(path, "there is no such file, which the proxy's passwordFile names");
  if (!file.isSecret) throw invalid(path, "others can read it", `chown root:root ${path}; chmod 600 ${path}`);
  const text = Buffer.from(file.bytes)
    .toString("utf8")
    .replace(/\r?\n$/, "");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may get into a header
  if (/^[^:\u0000-\u001f\u007f]+:[^\u0000-\u001f\u007f]*$/.test(text)) return text;
  throw invalid(path, "it is not one line USER:PASSWORD");
}

async function proxiesFor(
  { proxy }: FetchSettings,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Proxies> {
  if (proxy === undefined) return environmentProxies(environment);
  const userinfo = proxy.passwordFile === undefined ? undefined : await readPassword(proxy.passwordFile);
  return proxiesOf({ http: proxy.url, https: proxy.url, except: proxy.except, userinfo });
}

function limitsOf({ patience }: FetchSettings): RegistryLimits {
  return {
    ...defaultLimits,
    connectMs: patience.connect * 1000,
    headersMs: patience.answer * 1000,
    idleMs: patience.idle * 1000,
    minBytesPerSecond: patience.bytesPerSecond,
    rateWindowMs: patience.window * 1000,
  };
}

/**
 * The settings as what connections are made with. All that is opened with it shares one rate.
 * @param environment for the proxy, where the settings name none
 * @param signal ends every exchange
 * @throws MosError `fetch-settings-invalid`
 */
export async function networkOf(
  settings: FetchSettings,
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Network> {
  const { rateLimit } = settings;
  const mirrors = new Map(
    Object.entries(settings.mirrors).map(([host, bases]) => [parseHost(host), bases.map(parseBase)]),
  );
  return {
    mirrors,
    session: {
      limits: limitsOf(settings),
      proxies: await proxiesFor(settings, environment),
      ...(rateLimit === undefined ? {} : { rate: new RateLimit(rateLimit) }),
      signal,
    },
  };
}
