// Secrets of a service as systemd's Container Interface gives them to containers: a read-only directory of files, and
// $CREDENTIALS_DIRECTORY that names it. The directory on the device is called after what is in it, so that another
// secret means another unit, and so a restart of just that service.
import { MosError } from "../errors/mos-error.ts";
import { credentialsPath } from "../manifest/secret-rules.ts";
import { type Entry, quadletWord, raw } from "../systemd/unit-file.ts";
import { rangeLength } from "./idmap.ts";
import type { ServiceImage } from "./model.ts";
import { userOf } from "./process.ts";
import { credentialsDirectory, type Places } from "./unit-names.ts";

/** Says which secrets a service has, and tells nothing about them: 32 hex digits (agent/credentials.ts). */
export type CredentialsTag = string & { readonly brand: "CredentialsTag" };

/** Service → what its secrets are called; services without secrets are not in it. */
export type CredentialsTags = ReadonlyMap<string, CredentialsTag>;

/** Tags to render with before anything was opened, to find out whether it can be rendered. */
export function trialTags(images: readonly ServiceImage[]): CredentialsTags {
  return new Map(images.map(({ target }) => [target.service_name, "0".repeat(32) as CredentialsTag]));
}

/** Largest uid of a service on the host's own ids. */
const maxId = 2 ** 31 - 1;

/**
 * The uid, inside its container, that a service runs under and that owns its secrets.
 * @throws MosError `image-unusable` when the image has a name for it, which only its own /etc/passwd could explain
 */
function credentialsUser({ target, config: { config } }: ServiceImage): number {
  const [user = ""] = userOf(target.image, config).split(":");
  if (user === "" || user === "root") return 0;
  const id = /^[0-9]{1,10}$/.test(user) ? Number(user) : undefined;
  if (id !== undefined && id <= maxId) return id;
  throw new MosError(
    "image-unusable",
    `cannot give its secrets to ${target.service_name}: its image runs as the user ${JSON.stringify(user)}, not as a number`,
    { about: target.service_name, hint: "Let the image's USER be a number, such as 1000." },
  );
}

/**
 * Who owns a service's secrets on the device.
 * @param firstId first host id of its nsgroup's range; undefined for the host's own ids
 * @throws MosError `image-unusable`
 */
export function credentialsOwner(
  image: ServiceImage,
  firstId: number | undefined,
): { readonly uid: number; readonly gid: number } {
  const user = credentialsUser(image);
  if (firstId === undefined) return { uid: user, gid: 0 };
  if (user < rangeLength) return { uid: firstId + user, gid: firstId };
  const { service_name: service } = image.target;
  throw new MosError(
    "image-unusable",
    `cannot give its secrets to ${service}: its image runs as the user ${user}, and a container has ${rangeLength}`,
    { about: service },
  );
}

/**
 * What a container's unit says about its secrets; nothing when it has none.
 * @throws MosError `image-unusable`
 */
export function credentialsEntries(
  image: ServiceImage,
  firstId: number | undefined,
  tags: CredentialsTags,
  places: Places,
): Entry[] {
  const { service_name: service, secrets } = image.target;
  if (secrets.length === 0) return [];
  credentialsOwner(image, firstId);
  const tag = tags.get(service);
  if (tag === undefined) throw new MosError("internal", `the secrets of ${service} were not opened`);
  const source = credentialsDirectory(places, service, tag);
  return [
    // No `U` and no `z`: podman leaves owner and label alone.
    ["Volume", raw(`${source}:${credentialsPath}:ro,nosuid,nodev,noexec`)],
    ["Environment", quadletWord(`CREDENTIALS_DIRECTORY=${credentialsPath}`)],
  ];
}
