// Opened secrets as files: whole or not there, kept for what runs, and the same when nothing has changed.
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { CredentialStore, type CredentialsSource } from "../../../src/agent/credentials.ts";
import { type CredentialsTag, credentialsOwner } from "../../../src/services/credentials.ts";
import { credentialsDirectory, type Places } from "../../../src/services/unit-names.ts";
import { sampleImage, sampleSecret, sampleTarget } from "../../samples.ts";
import { temporaryDirectory } from "../../support.ts";

const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const source: CredentialsSource = {
  product: "demo",
  target: sampleTarget({ secrets: [sampleSecret("token")] }),
  owner,
};
const opened = (secret: string) => [{ name: "token", secret: Buffer.from(secret) }];

let places: Places;
beforeEach(async () => {
  const run = await temporaryDirectory();
  places = { state: join(run, "state"), run };
});

const put = async (secret: string, from = source): Promise<CredentialsTag> =>
  await (await CredentialStore.open(places)).put(from, opened(secret));
const find = async (from = source): Promise<CredentialsTag | undefined> =>
  await (await CredentialStore.open(places)).find(from);
const directory = (tag: CredentialsTag): string => credentialsDirectory(places, "web", tag);

describe("the secrets of a service", () => {
  it("are files that their owner alone can read, and only read, whatever the umask", async () => {
    const umask = process.umask(0o077);
    const tag = await put("one").finally(() => process.umask(umask));
    expect(await readFile(join(directory(tag), "token"), "utf8")).toBe("one");
    expect((await stat(join(directory(tag), "token"))).mode & 0o777).toBe(0o400);
    expect((await stat(directory(tag))).mode & 0o777).toBe(0o700);
    expect((await stat(join(places.run, "secrets.json"))).mode & 0o777).toBe(0o600);
    // Passable, because the runtime of a container is another user; but nobody can look around.
    for (const above of [dirname(directory(tag)), dirname(dirname(directory(tag)))]) {
      expect((await stat(above)).mode & 0o777).toBe(0o711);
    }
  });

  it("are called the same as long as they are the same, and otherwise another name", async () => {
    const tag = await put("one");
    expect(await put("one")).toBe(tag);
    expect(await put("two")).not.toBe(tag);
    const renamed = await (await CredentialStore.open(places)).put(source, [
      { name: "tok", secret: Buffer.from("enone") },
    ]);
    expect(renamed).not.toBe(tag);
    // The old ones stay for what runs.
    expect(await readFile(join(directory(tag), "token"), "utf8")).toBe("one");
  });

  it("have a name that tells nothing: on another device or in another boot it is another one", async () => {
    const tag = await put("one");
    await rm(join(places.run, "secrets.json"));
    expect(await put("one")).not.toBe(tag);
  });

  it.each<[string, (tag: CredentialsTag) => Promise<CredentialsSource | undefined>]>([
    [
      "other ciphertexts are given",
      async () => ({ ...source, target: sampleTarget({ secrets: [sampleSecret("x")] }) }),
    ],
    ["the owner is another one", async () => ({ ...source, owner: { ...owner, uid: owner.uid + 1 } })],
    ["the product is another one", async () => ({ ...source, product: "other" })],
    ["their directory is gone", async (tag) => void (await rm(directory(tag), { recursive: true }))],
    ["the record is gone", async () => void (await rm(join(places.run, "secrets.json")))],
    ["the record is damaged", async () => void (await writeFile(join(places.run, "secrets.json"), "{"))],
    [
      "the record is of another form",
      async () =>
        void (await writeFile(join(places.run, "secrets.json"), '{"version":1,"key":"","services":[]}')),
    ],
  ])("are found in place, and not when %s", async (_what, change) => {
    const tag = await put("one");
    expect(await find()).toBe(tag);
    const from = (await change(tag)) ?? source;
    expect(await find(from)).toBeUndefined();
    if (from.owner === owner)
      expect(await readFile(join(directory(await put("two", from)), "token"), "utf8")).toBe("two");
  });

  it("are put in place over what a crash has left half done", async () => {
    const tag = await put("one");
    await rm(directory(tag), { recursive: true });
    const half = join(dirname(directory(tag)), `.${tag}.tmp`);
    await mkdir(half);
    await writeFile(join(half, "token"), "half");
    expect(await put("one")).toBe(tag);
    expect(await readdir(dirname(directory(tag)))).toEqual([tag]);
    expect(await readFile(join(directory(tag), "token"), "utf8")).toBe("one");
  });

  it("leave nothing behind when they cannot be written", async () => {
    const store = await CredentialStore.open(places);
    const twice = [...opened("one"), ...opened("two")];
    await expect(store.put(source, twice)).rejects.toThrow("EEXIST");
    expect(await readdir(join(places.run, "credentials/web"))).toEqual([]);
  });

  it("go when nothing needs them any more", async () => {
    const [one, two] = [await put("one"), await put("two")];
    const store = await CredentialStore.open(places);
    await store.keepOnly(new Map([["web", two]]));
    await expect(stat(directory(one))).rejects.toThrow("ENOENT");
    expect(await find()).toBe(two);
    await store.keepOnly(new Map());
    expect(await readdir(join(places.run, "credentials"))).toEqual([]);
    expect(await find()).toBeUndefined();
  });
});

describe("the owner of a service's secrets", () => {
  const ownerOf = (user: string, firstId?: number) =>
    credentialsOwner({ ...sampleImage(source.target), config: { config: { User: user } } }, firstId);

  it("is the user that its image runs as, in the range of its group or on the host's own ids", () => {
    expect(ownerOf("", 100_000)).toEqual({ uid: 100_000, gid: 100_000 });
    expect(ownerOf("root:0", 100_000)).toEqual({ uid: 100_000, gid: 100_000 });
    expect(ownerOf("1000:33", 100_000)).toEqual({ uid: 101_000, gid: 100_000 });
    expect(ownerOf("1000")).toEqual({ uid: 1000, gid: 0 });
    expect(ownerOf("")).toEqual({ uid: 0, gid: 0 });
  });

  it.each([["www-data"], ["-1"], ["65536"], ["1e3"], ["99999999999"]])(
    "is nobody where the image runs as %s",
    (user) => {
      expect(() => ownerOf(user, 100_000)).toThrow(expect.objectContaining({ code: "image-unusable" }));
    },
  );
});
