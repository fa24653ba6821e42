import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isIssuedBy, readCertificates } from "../../../src/trust/certificate.ts";
import { verifyChain } from "../../../src/trust/chain.ts";
import { addKeyset, addProject, listKeysets, listProjects, openProject } from "../../../src/trust/keyset.ts";
import { keysetsDirectory } from "../../../src/trust/keyset-files.ts";
import { findKey, itemPath, itemValue, viewKeyset } from "../../../src/trust/keyset-view.ts";
import { verifySignedManifest } from "../../../src/trust/manifest-signature.ts";
import { productOfDevice } from "../../../src/trust/product.ts";
import { signBytes } from "../../../src/trust/signature.ts";
import { addDevice, listDevices } from "../../../src/trust/sudi.ts";
import { bytes } from "./authority.ts";
import { rootOfFile } from "./roots.ts";

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "keysets-"));
  await addKeyset({ root, name: "demo", organizations: ["Example"], keyType: "p256" });
  await addProject(root, "demo", "zot");
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const code = (error: string) => expect.objectContaining({ code: error });

async function filesBelow(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function snapshot(): Promise<ReadonlyMap<string, string>> {
  const files = await filesBelow(root);
  return new Map(await Promise.all(files.map(async (file) => [file, await readFile(file, "utf8")] as const)));
}

describe("a keyset", () => {
  test("has the published layout", async () => {
    const files = (await filesBelow(join(root, "demo"))).map((file) => file.slice(root.length + 1)).sort();
    const pair = (key: string) => [`demo/${key}/cert.pem`, `demo/${key}/privkey.pem`];
    const efi = ["uefi-db", "uefi-kek", "uefi-pk", "uki-limited", "uki-production", "uki-tpm"];
    const plain = ["manifest-ca", "sudi-ca", "tpmpol-admin", "tpmpol-luks"];
    expect(files).toEqual(
      [
        ...plain.flatMap(pair),
        ...efi.flatMap((key) => [...pair(key), `demo/${key}/guid`]),
        ...pair("manifest/zot"),
        "demo/manifest/zot/uuid",
      ].sort(),
    );
  });

  test("lets nobody else read a private key, or look into its directories", async () => {
    for (const file of await filesBelow(join(root, "demo"))) {
      if (file.endsWith("privkey.pem")) expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect((await stat(join(file, ".."))).mode & 0o777).toBe(0o700);
    }
  });

  test("signs manifests that verify under its CA alone", async () => {
    const project = await openProject(root, "demo:zot");
    const manifest = bytes("{}");
    const signer = verifySignedManifest(
      manifest,
      { signature: signBytes(manifest, project.key), certificates: bytes(project.certificatePem) },
      await rootOfFile(join(root, "demo/manifest-ca/cert.pem")),
      { kind: "at", date: new Date(), source: "the system clock" },
    );
    expect(signer.commonName).toBe(`manifest PRODUCT:${project.uuid}`);
  });

  test("may have several signers of one product", async () => {
    const { uuid } = await openProject(root, "demo:zot");
    await addProject(root, "demo", "zot-second", uuid);
    const [first, second] = await Promise.all(
      ["zot", "zot-second"].map((name) => openProject(root, `demo:${name}`)),
    );
    expect(second?.uuid).toBe(uuid);
    expect(second?.certificatePem).not.toBe(first?.certificatePem);
    await expect(addProject(root, "demo", "third", "zot")).rejects.toEqual(code("name-invalid"));
    await rm(join(root, "demo/manifest/zot-second"), { recursive: true });
  });

  test("is never written over, and neither is a project", async () => {
    const before = await snapshot();
    const again = { root, name: "demo", organizations: [], keyType: "p256" } as const;
    await expect(addKeyset(again)).rejects.toEqual(code("keyset-exists"));
    await expect(addProject(root, "demo", "zot")).rejects.toEqual(code("project-exists"));
    expect(await snapshot()).toEqual(before);
  });

  test("is made once when two make it at the same time, and leaves no remains", async () => {
    const input = { root, name: "race", organizations: [], keyType: "p256" } as const;
    const results = await Promise.allSettled([addKeyset(input), addKeyset(input)]);
    expect(results.map((result) => result.status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(results.find((result) => result.status === "rejected")?.reason).toEqual(code("keyset-exists"));
    expect((await readdir(root)).filter((name) => name.startsWith("."))).toEqual([]);
    await rm(join(root, "race"), { recursive: true });
  });

  test("leaves nothing behind when making it fails half way", async () => {
    const fail = addKeyset({
      ...{ root, name: "half", organizations: [], keyType: "p256" },
      onKey: (_, index) => {
        if (index === 3) throw new Error("interrupted");
      },
    });
    await expect(fail).rejects.toThrow("interrupted");
    expect(await readdir(root)).toEqual(["demo"]);
  });

  test.each([
    [""],
    ["."],
    [".."],
    ["a/b"],
    ["../up"],
    ["/abs"],
    ["-flag"],
    ["Upper"],
    ["new\nline"],
    ["sp ace"],
    ["nul\0"],
    ["é"],
    ["a:b"],
    ["x".repeat(41)],
  ])("and a project may not be named %j", async (name) => {
    await expect(addKeyset({ root, name, organizations: [], keyType: "p256" })).rejects.toEqual(
      code("name-invalid"),
    );
    await expect(addProject(root, "demo", name)).rejects.toEqual(code("name-invalid"));
    await expect(listProjects(root, name)).rejects.toEqual(code("name-invalid"));
  });

  test.each([[""], ["a\nb"], ["x".repeat(65)]])("may not name the organization %j", async (organization) => {
    const odd = { root, name: "odd", organizations: [organization], keyType: "p256" } as const;
    await expect(addKeyset(odd)).rejects.toEqual(code("name-invalid"));
  });

  test("is listed by name, a project too", async () => {
    expect(await listKeysets(root)).toEqual(["demo"]);
    expect(await listProjects(root, "demo")).toEqual(["zot"]);
    expect(await listKeysets(join(root, "nowhere"))).toEqual([]);
  });

  test("is where MOS_KEYSETS says, or at the published place in the home directory", () => {
    expect(keysetsDirectory({ MOS_KEYSETS: "/k", HOME: "/home/u" })).toBe("/k");
    expect(keysetsDirectory({ HOME: "/home/u" })).toBe("/home/u/.local/share/machine/trust/keys");
  });
});

describe("opening a project", () => {
  test.each([
    ["demo", "name-invalid"],
    ["demo:", "name-invalid"],
    ["demo:zot:x", "name-invalid"],
    ["demo:../zot", "name-invalid"],
    ["other:zot", "keyset-unknown"],
    ["demo:other", "project-unknown"],
  ])("refuses %s", async (reference, error) => {
    await expect(openProject(root, reference)).rejects.toEqual(code(error));
  });

  test("refuses a key that does not belong to the certificate", async () => {
    const { path } = await addProject(root, "demo", "mixed");
    const foreign = await readFile(join(root, "demo/manifest/zot/privkey.pem"));
    await writeFile(join(path, "privkey.pem"), foreign);
    await expect(openProject(root, "demo:mixed")).rejects.toEqual(code("key-invalid"));
    await rm(path, { recursive: true });
  });

  test("refuses a project with a part missing", async () => {
    await mkdir(join(root, "demo/manifest/empty"));
    await chmod(join(root, "demo/manifest/empty"), 0o700);
    await expect(openProject(root, "demo:empty")).rejects.toEqual(code("file-unreadable"));
    await rm(join(root, "demo/manifest/empty"), { recursive: true });
  });
});

describe("showing a keyset", () => {
  test("tells certificates, values and paths, and no secret", async () => {
    const views = await viewKeyset(root, "demo");
    expect(views.find((view) => view.key === "manifest-ca")?.certificate).toMatchObject({
      subject: "O=Example, OU=Project Machine Project demo, CN=Manifest rootCA",
      key: "P-256",
      isCa: true,
    });
    expect(views.find((view) => view.key === "uefi-db")?.values["guid"]).toMatch(/^[0-9a-f-]{36}$/);
    const secret = (await readFile(join(root, "demo/manifest-ca/privkey.pem"), "utf8")).split("\n")[1] ?? "";
    expect(JSON.stringify(views)).not.toContain(secret);
  });

  test("refuses to print a private key but says where it is", async () => {
    const view = await findKey(root, "demo", "manifest:zot");
    await expect(itemValue(view, "privkey.pem")).rejects.toEqual(code("key-secret"));
    expect(itemPath(view, "privkey.pem")).toBe(join(root, "demo/manifest/zot/privkey.pem"));
    expect(await itemValue(view, "uuid")).toBe(view.values["uuid"]);
  });

  test("names what it has when asked for something else", async () => {
    await expect(findKey(root, "demo", "nothing")).rejects.toEqual(code("key-unknown"));
    const view = await findKey(root, "demo", "sudi-ca");
    expect(() => itemPath(view, "../manifest-ca/cert.pem")).toThrow("cannot find");
  });

  test("shows a key whose certificate is damaged, with what is wrong", async () => {
    const { path } = await addProject(root, "demo", "damaged");
    await writeFile(join(path, "cert.pem"), "gone");
    expect((await findKey(root, "demo", "manifest:damaged")).problem).toContain("cannot read a certificate");
    await rm(path, { recursive: true });
  });
});

describe("the identity of a machine", () => {
  test("names product and machine under the SUDI CA, and is never written over", async () => {
    const { uuid } = await openProject(root, "demo:zot");
    const { certificate, path } = await addDevice(root, "demo", "zot", "6CU1234ABC");
    const { subject, permissions, notAfter } = certificate;
    expect(productOfDevice(subject.serialNumber)).toBe(uuid);
    expect(subject).toMatchObject({ commonName: "6CU1234ABC", serialNumber: `PID:${uuid} SN:6CU1234ABC` });
    expect(notAfter.toISOString()).toBe("2099-12-31T23:00:00.000Z");
    expect([...(permissions.keyUsage ?? [])].sort()).toEqual([
      ...["dataEncipherment", "digitalSignature", "keyEncipherment"],
    ]);
    const [ca] = readCertificates(await readFile(join(root, "demo/sudi-ca/cert.pem")));
    expect(isIssuedBy(certificate, ca)).toBe(true);
    expect((await stat(join(path, "privkey.pem"))).mode & 0o777).toBe(0o600);
    await expect(addDevice(root, "demo", "zot", "6CU1234ABC")).rejects.toEqual(code("device-exists"));
    const { machine } = await addDevice(root, "demo", "zot");
    expect((await listDevices(root, "demo", "zot")).map((device) => device.machine)).toEqual(
      ["6CU1234ABC", machine].sort(),
    );
  });

  test("vouches for no manifest", async () => {
    const { certificate } = await addDevice(root, "demo", "zot");
    const verify = () =>
      verifyChain({
        leaf: certificate,
        intermediates: [],
        anchors: [],
        revoked: new Set(),
        time: { kind: "ignore" },
      });
    expect(verify).toThrow("codeSigning");
  });

  test.each(["", "a b", "../x", "a/b", "-x", "x".repeat(64)])("has no name like %j", async (name) => {
    await expect(addDevice(root, "demo", "zot", name)).rejects.toEqual(code("name-invalid"));
  });
});
