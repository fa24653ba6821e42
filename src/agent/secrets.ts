// Secrets of services on their way from the signed manifest to the files that the services get. The TPM opens them,
// and is asked only where a manifest has any.
import { asMosError, MosError } from "../errors/mos-error.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import type { Secret } from "../manifest/secret-schema.ts";
import type { DeviceKey } from "../secrets/device-key.ts";
import { openSecret } from "../secrets/envelope.ts";
import { type CredentialsTag, type CredentialsTags, credentialsOwner } from "../services/credentials.ts";
import type { IdMaps } from "../services/idmap.ts";
import type { ServiceImage } from "../services/model.ts";
import { firstIdOf } from "../services/render.ts";
import type { AgentContext } from "./context.ts";
import { CredentialStore, type CredentialsSource, type OpenedSecret } from "./credentials.ts";
import type { TargetProblem } from "./load.ts";

/** Opened secrets, which are wiped when they are disposed of. */
class OpenedSecrets implements Disposable {
  readonly services = new Map<string, readonly OpenedSecret[]>();
  readonly problems: TargetProblem[] = [];

  [Symbol.dispose](): void {
    for (const secrets of this.services.values()) for (const { secret } of secrets) secret.fill(0);
    this.services.clear();
  }
}

function unreadable(
  service: string,
  why: string,
  details: { hint?: string; cause?: unknown } = {},
): MosError {
  return new MosError("secret-unreadable", `cannot open the secrets of ${service}: ${why}`, {
    about: service,
    ...details,
  });
}

function hasSecrets({ target }: ServiceImage): boolean {
  return target.secrets.length > 0;
}

/** One secret, or why it does not open. */
async function openOne(
  { id, point, agree }: DeviceKey,
  product: string,
  service: string,
  { name, data, recipients }: Secret,
): Promise<OpenedSecret> {
  const own = recipients.find(({ key }) => key === id);
  if (own === undefined) throw unreadable(service, `${name} is not encrypted to this device (${id})`);
  const bytes = (base64: string): Uint8Array => Buffer.from(base64, "base64");
  const envelope = { data: bytes(data), sealed: bytes(own.sealed) };
  try {
    return { name, secret: await openSecret(agree, point, { product, service, name }, envelope) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw unreadable(service, `${name} does not open: ${error.message}`);
  }
}

async function openTarget(
  key: DeviceKey,
  product: string,
  { service_name: service, secrets }: Target,
): Promise<OpenedSecret[]> {
  const opened: OpenedSecret[] = [];
  try {
    for (const secret of secrets) opened.push(await openOne(key, product, service, secret));
    return opened;
  } catch (error) {
    for (const { secret } of opened) secret.fill(0);
    throw error;
  }
}

/** Opens the secrets of services. What cannot be opened is a problem of its service alone. */
async function openTargets(
  { trust }: AgentContext,
  product: string,
  targets: readonly Target[],
): Promise<OpenedSecrets> {
  const opened = new OpenedSecrets();
  if (targets.length === 0) return opened;
  const { withDeviceKey } = await import("../secrets/device-key.ts");
  const fail = ({ service_name: service }: Target, error: unknown): void => {
    const known = asMosError(error);
    if (known.code === "internal") throw known;
    const { message, hint } = known;
    const problem =
      known.code === "secret-unreadable" ? known : unreadable(service, message, { hint, cause: known });
    opened.problems.push({ service, error: problem });
  };
  try {
    await withDeviceKey(trust.tpm, async (key) => {
      for (const target of targets) {
        try {
          opened.services.set(target.service_name, await openTarget(key, product, target));
        } catch (error) {
          fail(target, error);
        }
      }
    });
  } catch (error) {
    // The TPM itself, or its key, is not there.
    opened[Symbol.dispose]();
    opened.problems.length = 0;
    for (const target of targets) fail(target, error);
  }
  return opened;
}

/**
 * Opens all secrets of a manifest that is about to be applied.
 * @throws MosError `secret-unreadable` for the first that does not open; nothing on the device has changed
 */
export async function openSecrets(
  context: AgentContext,
  { product }: InstallManifest,
  images: readonly ServiceImage[],
): Promise<OpenedSecrets> {
  const opened = await openTargets(
    context,
    product,
    images.filter(hasSecrets).map(({ target }) => target),
  );
  const [first] = opened.problems;
  if (first === undefined) return opened;
  opened[Symbol.dispose]();
  const { message, about, hint } = first.error;
  const problems = opened.problems.map(({ error }) => error.message);
  throw new MosError("secret-unreadable", message, {
    ...(about === undefined ? {} : { about }),
    ...{ hint, cause: first.error, problems: problems.length > 1 ? problems : [] },
  });
}

interface Wanted {
  readonly manifest: InstallManifest;
  readonly images: readonly ServiceImage[];
  readonly idmaps: IdMaps;
}

function sourcesOf({ manifest, images, idmaps }: Wanted): CredentialsSource[] {
  return images.filter(hasSecrets).map((image) => {
    const { target } = image;
    const owner = credentialsOwner(image, firstIdOf(target.nsgroup, idmaps));
    return { product: manifest.product, target, owner };
  });
}

/**
 * Puts opened secrets where their services find them, beside those that are there. Says what they are called.
 * @throws the system's error
 */
export async function placeSecrets(
  { places }: AgentContext,
  wanted: Wanted,
  { services }: OpenedSecrets,
): Promise<CredentialsTags> {
  const tags = new Map<string, CredentialsTag>();
  if (services.size === 0) return tags;
  const store = await CredentialStore.open(places);
  for (const source of sourcesOf(wanted)) {
    const service = source.target.service_name;
    tags.set(service, await store.put(source, services.get(service) ?? []));
  }
  return tags;
}

/**
 * The secrets of the generation that runs: what is in place stays, the rest is opened. A service that cannot get its
 * own is a problem; the others have a tag.
 */
export async function bringSecrets(
  context: AgentContext,
  wanted: Wanted,
): Promise<{ readonly tags: CredentialsTags; readonly problems: readonly TargetProblem[] }> {
  const tags = new Map<string, CredentialsTag>();
  const sources = sourcesOf(wanted);
  if (sources.length === 0) return { tags, problems: [] };
  const store = await CredentialStore.open(context.places);
  const missing: CredentialsSource[] = [];
  for (const source of sources) {
    const tag = await store.find(source);
    if (tag === undefined) missing.push(source);
    else tags.set(source.target.service_name, tag);
  }
  const targets = missing.map(({ target }) => target);
  using opened = await openTargets(context, wanted.manifest.product, targets);
  const problems = [...opened.problems];
  for (const source of missing) {
    const service = source.target.service_name;
    const secrets = opened.services.get(service);
    if (secrets === undefined) continue;
    try {
      tags.set(service, await store.put(source, secrets));
    } catch (error) {
      problems.push({ service, error: asMosError(error, service) });
    }
  }
  return { tags, problems };
}

/** Removes the secrets that nothing needs any more. */
export async function sweepSecrets({ places }: AgentContext, tags: CredentialsTags): Promise<void> {
  await (await CredentialStore.open(places)).keepOnly(tags);
}

/**
 * Why the secrets of a service do not open now; undefined when they do, when it has none, or when this process may not
 * ask the TPM.
 */
export async function secretProblem(
  context: AgentContext,
  product: string,
  target: Target,
): Promise<MosError | undefined> {
  if (target.secrets.length === 0 || process.getuid?.() !== 0) return undefined;
  using opened = await openTargets(context, product, [target]);
  return opened.problems[0]?.error;
}
