// The opened secrets of services, as files in memory: /run/mos/credentials/SERVICE/TAG/NAME. A directory appears whole
// under its tag and never changes, so that what runs keeps what it was started with. /run/mos/secrets.json remembers
// which encrypted secrets became which tag, so that the TPM is asked once in a boot and not at each start of mosd.
import { createHash, createHmac, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { systemCode } from "../errors/mos-error.ts";
import type { Target } from "../manifest/schema.ts";
import type { CredentialsTag, CredentialsTags } from "../services/credentials.ts";
import { credentialsDirectory, credentialsRoot, type Places } from "../services/unit-names.ts";
import { makeDirectory, removeTree, writeFileAtomic } from "../system/atomic-file.ts";
import { changeMode, changeOwner, createDirectory, openFile, rename } from "../system/durable.ts";

/** One secret, opened. */
export interface OpenedSecret {
  readonly name: string;
  readonly secret: Uint8Array;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What the secrets of a service are made of: encrypted, and for whom. */
export interface CredentialsSource {
  readonly product: string;
  readonly target: Target;
  readonly owner: Owner;
}

const keySize = 32;
const hexPattern = (digits: number) => new RegExp(`^[0-9a-f]{${digits}}$`);

const recordSchema = z.strictObject({
  version: z.literal(1),
  key: z.string().regex(hexPattern(2 * keySize)),
  services: z.array(
    z.strictObject({
      name: z.string(),
      source: z.string().regex(hexPattern(64)),
      tag: z.custom<CredentialsTag>((value) => typeof value === "string" && hexPattern(32).test(value)),
    }),
  ),
});
type Known = z.output<typeof recordSchema>["services"][number];

function recordPath({ run }: Places): string {
  return join(run, "secrets.json");
}

/** What was remembered in this boot. What cannot be read is forgotten: then everything is opened again. */
async function readRecord(places: Places): Promise<z.output<typeof recordSchema> | undefined> {
  const text = await readFile(recordPath(places), "utf8").catch(() => undefined);
  try {
    return text === undefined ? undefined : recordSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function namesIn(path: string): Promise<readonly string[] | undefined> {
  try {
    return await readdir(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function digestOfSource({ product, target, owner }: CredentialsSource): string {
  const parts = [product, target.service_name, target.secrets, owner.uid, owner.gid];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** The files of opened secrets on this device. Used by one transaction at a time. */
export class CredentialStore {
  private readonly places: Places;
  /** Of this boot; keeps a tag from telling anything about what it is made of. */
  private readonly key: Uint8Array;
  private readonly services: Map<string, Known>;

  private constructor(places: Places, key: Uint8Array, services: readonly Known[]) {
    this.places = places;
    this.key = key;
    this.services = new Map(services.map((known) => [known.name, known]));
  }

  static async open(places: Places): Promise<CredentialStore> {
    const record = await readRecord(places);
    const key = record === undefined ? randomBytes(keySize) : Buffer.from(record.key, "hex");
    return new CredentialStore(places, key, record?.services ?? []);
  }

  /** The tag under which the secrets of a service are in place already; undefined when they have to be opened. */
  async find(source: CredentialsSource): Promise<CredentialsTag | undefined> {
    const { service_name: service } = source.target;
    const known = this.services.get(service);
    if (known === undefined || known.source !== digestOfSource(source)) return undefined;
    const names = await namesIn(credentialsDirectory(this.places, service, known.tag));
    return names === undefined ? undefined : known.tag;
  }

  /** Puts the secrets of a service in place. @throws the system's error, by which nothing is left behind */
  async put(source: CredentialsSource, secrets: readonly OpenedSecret[]): Promise<CredentialsTag> {
    const name = source.target.service_name;
    const tag = this.tagOf(secrets, source.owner);
    await this.write(name, tag, secrets, source.owner);
    this.services.set(name, { name, source: digestOfSource(source), tag });
    await this.save();
    return tag;
  }

  /** The same for the same secrets of the same owner, for as long as the device is up. */
  private tagOf(secrets: readonly OpenedSecret[], { uid, gid }: Owner): CredentialsTag {
    const mac = createHmac("sha256", this.key).update(`${uid} ${gid} `);
    for (const { name, secret } of secrets) mac.update(`${name} ${secret.length} `).update(secret);
    return mac.digest("hex").slice(0, 32) as CredentialsTag;
  }

  private async write(
    service: string,
    tag: CredentialsTag,
    secrets: readonly OpenedSecret[],
    { uid, gid }: Owner,
  ): Promise<void> {
    const path = credentialsDirectory(this.places, service, tag);
    if ((await namesIn(path)) !== undefined) return;
    // Passable for everybody, because a container's runtime walks through it as the container's own root; what is in
    // the directory of the tag is for its owner only.
    const above = join(credentialsRoot(this.places), service);
    await makeDirectory(above);
    for (const passable of [credentialsRoot(this.places), above]) await changeMode(passable, 0o711);
    const temporary = join(above, `.${tag}.tmp`);
    await removeTree(temporary);
    try {
      await createDirectory(temporary, 0o700);
      for (const { name, secret } of secrets) {
        await using handle = await openFile(join(temporary, name), "wx", 0o400);
        await handle.writeFile(secret);
        await handle.chown(uid, gid);
      }
      await changeOwner(temporary, uid, gid);
      await rename(temporary, path);
    } catch (error) {
      await removeTree(temporary);
      throw error;
    }
  }

  private async save(): Promise<void> {
    const services = [...this.services.values()];
    const record = { version: 1, key: Buffer.from(this.key).toString("hex"), services };
    await writeFileAtomic(recordPath(this.places), `${JSON.stringify(record)}\n`, 0o600);
  }

  /** Removes all secrets but these; for when nothing that runs needs the others any more. */
  async keepOnly(tags: CredentialsTags): Promise<void> {
    const root = credentialsRoot(this.places);
    for (const service of (await namesIn(root)) ?? []) {
      const kept = tags.get(service);
      if (kept === undefined) await removeTree(join(root, service));
      for (const tag of (await namesIn(join(root, service))) ?? []) {
        if (tag !== kept) await removeTree(join(root, service, tag));
      }
    }
    const gone = [...this.services.keys()].filter((service) => !tags.has(service));
    for (const service of gone) this.services.delete(service);
    if (gone.length > 0) await this.save();
  }
}
