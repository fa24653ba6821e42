// What a device refuses, each by its name, and that nothing on it changes then. One good set, one change a test.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { update } from "../../src/agent/update.ts";
import { addGeneration, makeCurrent } from "../../src/generation/generations.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { withLock } from "../../src/system/lock.ts";
import { temporaryDirectory } from "../support.ts";
import { make } from "../unit/trust/authority.ts";
import {
  type Change,
  deviceAt,
  flip,
  flipBlob,
  type Material,
  makeMaterial,
  writeSet,
} from "./signed-set.ts";

let material: Material;
beforeAll(async () => {
  const { mkdtemp } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  material = await makeMaterial(await mkdtemp(join(tmpdir(), "mos-refusals-")));
});

/** Every file below a directory but the content-addressed store and the lock, with its content. */
async function snapshot(root: string): Promise<string[]> {
  const names = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const kept = names.filter(
    (entry) =>
      !`${entry.parentPath}/`.includes("/state/oci/") && entry.name !== "lock" && entry.name !== "oci",
  );
  return await Promise.all(
    kept.map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      return `${path} ${entry.isFile() ? await readFile(path, "base64") : ""}`;
    }),
  ).then((lines) => lines.filter((line) => !line.endsWith("/run ")).sort());
}

/** Updates a device that already has a generation, and returns the code of the refusal. */
async function refusal(reference: string): Promise<string> {
  const root = await temporaryDirectory();
  const context = await deviceAt(root, material);
  const old = { manifest: Buffer.from("{}"), signature: Buffer.from("s"), certificates: Buffer.from("c") };
  const number = await addGeneration(context.places, old, {
    version: 1,
    reference: "oci:old:1",
    acceptedAt: "2026-01-01T00:00:00Z",
  });
  await makeCurrent(context.places, number);
  const before = await snapshot(root);
  let code = "accepted";
  try {
    await update(context, reference, () => undefined);
  } catch (error) {
    code = error instanceof Error && "code" in error ? String(error.code) : `not a MosError: ${error}`;
  }
  if (code !== "systemd-failed") expect(await snapshot(root)).toEqual(before);
  return code;
}

async function refusalOf(change: Change): Promise<string> {
  return await refusal(await writeSet(join(await temporaryDirectory(), "set"), material, change));
}

/** How far a good set comes on a machine where systemd does not run: everything but the activation. */
const allButActivated = "systemd-failed";

describe("an update", () => {
  it("takes a good set", async () => {
    expect(await refusalOf({})).toBe(allButActivated);
  });

  it("takes a good set beside which somebody attached a bogus signature", async () => {
    expect(await refusalOf({ bogus: true })).toBe(allButActivated);
  });

  const parts: readonly (readonly [what: string, change: Change, code: string])[] = [
    ["a flipped bit in install.json", { manifest: flip }, "signature-invalid"],
    ["a flipped bit in the signature", { signature: flip }, "signature-invalid"],
    ["a truncated signature", { signature: (bytes) => bytes.subarray(0, 20) }, "signature-invalid"],
    ["a certificate that is no certificate", { certificates: () => "nonsense" }, "certificate-malformed"],
    ["no signature", { without: "signature" }, "signature-missing"],
    ["no certificate", { without: "certificate" }, "certificate-missing"],
  ];
  it.each(parts)("refuses %s", async (_what, change, code) => {
    expect(await refusalOf(change)).toBe(code);
  });

  it("refuses a flipped bit in the certificate", async () => {
    const certificates = (pem: string): string => {
      const [begin = "", ...lines] = pem.split("\n");
      const end = lines.indexOf("-----END CERTIFICATE-----");
      const der = flip(Buffer.from(lines.slice(0, end).join(""), "base64"));
      return [
        begin,
        ...(der.toString("base64").match(/.{1,64}/g) ?? []),
        "-----END CERTIFICATE-----",
        "",
      ].join("\n");
    };
    expect(["chain-untrusted", "certificate-malformed", "signature-invalid", "algorithm-refused"]).toContain(
      await refusalOf({ certificates }),
    );
  });

  it("refuses a signature by another key of the same CA's, under the project's certificate", async () => {
    const other = await make({ issuer: material.ca });
    expect(await refusalOf({ signer: { ...other, pem: material.signer.pem } })).toBe("signature-invalid");
  });

  it("refuses an expired certificate", async () => {
    expect(await refusalOf({ signer: await make({ issuer: material.ca, notAfter: "2021-01-01" }) })).toBe(
      "certificate-expired",
    );
  });

  it("refuses a certificate that is not valid yet", async () => {
    expect(await refusalOf({ signer: await make({ issuer: material.ca, notBefore: "2039-01-01" }) })).toBe(
      "certificate-not-yet-valid",
    );
  });

  it("refuses a certificate issued through one that is no CA", async () => {
    const between = await make({ issuer: material.ca, subject: "CN=Between" });
    const signer = await make({ issuer: between });
    expect(await refusalOf({ signer, certificates: (pem) => pem + between.pem })).toBe("chain-not-ca");
  });

  it("refuses a manifest under another CA, though it has the same name", async () => {
    const stranger = await make({ ca: true });
    expect(await refusalOf({ signer: await make({ issuer: stranger }) })).toBe("chain-untrusted");
  });

  const documents: readonly (readonly [what: string, change: NonNullable<Change["document"]>])[] = [
    ["an unknown key", (d) => Object.assign(d, { extra: 1 })],
    ["a wrong type", (d) => Object.assign(d.targets[0], { version: 1 })],
    ["a duplicate service name", (d) => d.targets.push({ ...d.targets[0] })],
    ["a name with '/'", (d) => Object.assign(d.targets[0], { service_name: "a/b" })],
    ["a name with '..'", (d) => Object.assign(d.targets[0], { service_name: "a..b" })],
    ["a name with a newline", (d) => Object.assign(d.targets[0], { service_name: "a\nExecStart=x" })],
    ["a name of 300 characters", (d) => Object.assign(d.targets[0], { service_name: "a".repeat(300) })],
    [
      "port 0",
      (d) => Object.assign(d.targets[0].network, { type: "simple", ports: [{ host: 0, container: 1 }] }),
    ],
    [
      "port 65536",
      (d) => Object.assign(d.targets[0].network, { type: "simple", ports: [{ host: 65_536, container: 1 }] }),
    ],
    ["two services on one port", (d) => twoOnOnePort(d)],
    [
      "an address that cannot be parsed",
      (d) => Object.assign(d.targets[0].network, { type: "simple", ipv4: "10.0.3.256/24" }),
    ],
    [
      "a label that is not declared",
      (d) => Object.assign(d.targets[0], { storage: [{ dest: "/x", label: "none" }] }),
    ],
  ];
  function twoOnOnePort(d: Parameters<NonNullable<Change["document"]>>[0]): void {
    d.targets[0].network = { type: "simple", ipv4: "", ipv6: "", ports: [{ host: 80, container: 80 }] };
    d.targets.push({ ...d.targets[0], service_name: "second" });
  }
  it.each(documents)("refuses %s, although it is signed", async (_what, document) => {
    expect(await refusalOf({ document })).toBe("manifest-refused");
  });

  it("refuses a partial manifest, which this version cannot merge", async () => {
    expect(await refusalOf({ document: (d) => Object.assign(d, { update_type: "partial" }) })).toBe(
      "update-type-unsupported",
    );
  });

  it("refuses another size of an image manifest than the one that is signed", async () => {
    expect(await refusalOf({ document: (d) => Object.assign(d.targets[0], { size: 17 }) })).toBe(
      "size-mismatch",
    );
  });

  const blobs = [
    ["image manifest", (m: Material) => m.image.manifest.descriptor.digest],
    ["image configuration", (m: Material) => m.image.config.descriptor.digest],
    ["layer", (m: Material) => m.layer.descriptor.digest],
  ] as const;
  it.each(blobs)("refuses a flipped bit in an %s", async (_what, digest) => {
    const directory = join(await temporaryDirectory(), "set");
    const reference = await writeSet(directory, material);
    await flipBlob(directory, digest(material));
    expect(await refusal(reference)).toBe("digest-mismatch");
  });

  it("refuses a truncated layer", async () => {
    const directory = join(await temporaryDirectory(), "set");
    const reference = await writeSet(directory, material);
    const path = join(directory, "blobs/sha256", hexOf(material.layer.descriptor.digest));
    await writeFile(path, (await readFile(path)).subarray(0, -4096));
    expect(await refusal(reference)).toBe("size-mismatch");
  });

  it("refuses an artifact of another type under the tag", async () => {
    const directory = join(await temporaryDirectory(), "set");
    await writeSet(directory, material);
    expect(await refusal(`oci:${directory}@${material.image.manifest.descriptor.digest}`)).toBe(
      "artifact-type-wrong",
    );
  });

  it("mends a damaged image manifest or configuration in the store", async () => {
    const root = await temporaryDirectory();
    const context = await deviceAt(root, material);
    const reference = await writeSet(join(root, "set"), material);
    for (const { digest } of [material.image.manifest.descriptor, material.image.config.descriptor]) {
      await expect(update(context, reference, () => undefined)).rejects.toMatchObject({
        code: allButActivated,
      });
      await flipBlob(join(context.places.state, "oci"), digest);
    }
    await expect(update(context, reference, () => undefined)).rejects.toMatchObject({
      code: allButActivated,
    });
  });

  it("refuses when there is no trust anchor", async () => {
    const root = await temporaryDirectory();
    const context = { ...(await deviceAt(root, material)), anchors: ["file:/does/not/exist"] as const };
    const reference = await writeSet(join(root, "set"), material);
    await expect(update(context, reference, () => undefined)).rejects.toMatchObject({
      code: "anchor-missing",
    });
  });

  it("is told who holds the device when another update runs", async () => {
    const root = await temporaryDirectory();
    const context = await deviceAt(root, material);
    const reference = await writeSet(join(root, "set"), material);
    await mkdir(context.places.run, { recursive: true });
    await withLock(join(context.places.run, "lock"), "update to somewhere", async () => {
      const second = update(context, reference, () => undefined);
      await expect(second).rejects.toMatchObject({
        code: "busy",
        message: expect.stringContaining("update to somewhere"),
      });
    });
  });
});

/** Serves a layout as a registry, `tamper` first. */
async function serveLayout(
  directory: string,
  tamper: (path: string) => Buffer | "endless" | undefined,
): Promise<string> {
  const index = JSON.parse(await readFile(join(directory, "index.json"), "utf8")) as {
    manifests: { digest: string; annotations?: Record<string, string> }[];
  };
  const listener: RequestListener = (request, response) => {
    const path = request.url ?? "";
    const name = path.slice(path.lastIndexOf("/") + 1).split("?")[0] ?? "";
    void (async () => {
      const wrong = tamper(path);
      if (wrong === "endless") {
        response.writeHead(200, { "content-type": mediaTypes.manifest });
        const timer = setInterval(() => response.write(Buffer.alloc(1024 * 1024)), 5);
        response.once("close", () => clearInterval(timer));
        return;
      }
      if (path.includes("/referrers/")) {
        response.writeHead(200, { "content-type": mediaTypes.index });
        response.end(
          JSON.stringify({
            schemaVersion: 2,
            mediaType: mediaTypes.index,
            manifests: index.manifests.filter((m) => m.annotations === undefined),
          }),
        );
        return;
      }
      const tagged = index.manifests.find(
        (m) => m.annotations?.["org.opencontainers.image.ref.name"] === name,
      );
      const hex = (tagged?.digest ?? name).slice("sha256:".length);
      const body = wrong ?? (await readFile(join(directory, "blobs/sha256", hex)).catch(() => undefined));
      response.writeHead(body === undefined ? 404 : 200, {
        "content-type": path.includes("/manifests/") ? mediaTypes.manifest : "application/octet-stream",
        "content-length": body?.length ?? 0,
      });
      response.end(body);
    })();
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/machine/install:1`;
}

describe("an update from a registry", () => {
  const withTamper = async (
    tamper: (path: string, m: Material) => Buffer | "endless" | undefined,
  ): Promise<string> => {
    const directory = join(await temporaryDirectory(), "set");
    await writeSet(directory, material);
    return await refusal(await serveLayout(directory, (path) => tamper(path, material)));
  };

  it("takes what an honest one serves", async () => {
    expect(await withTamper(() => undefined)).toBe(allButActivated);
  });

  it("refuses other bytes than the digest names", async () => {
    const layer = material.layer.descriptor;
    expect(
      await withTamper((path) => (path.endsWith(layer.digest) ? Buffer.alloc(layer.size, 1) : undefined)),
    ).toBe("digest-mismatch");
  });

  it("refuses more or fewer bytes than are declared", async () => {
    const layer = material.layer.descriptor;
    for (const size of [layer.size - 1, layer.size + 1]) {
      expect(
        await withTamper((path) => (path.endsWith(layer.digest) ? Buffer.alloc(size, 1) : undefined)),
      ).toBe("size-mismatch");
    }
  });

  it("ends a response that never ends", async () => {
    expect(await withTamper((path) => (path.includes("/manifests/1") ? "endless" : undefined))).toBe(
      "too-large",
    );
    const layer = material.layer.descriptor.digest;
    expect(["too-large", "size-mismatch"]).toContain(
      await withTamper((path) => (path.endsWith(layer) ? "endless" : undefined)),
    );
  });

  it("says that a registry cannot be reached", async () => {
    expect(await refusal("127.0.0.1:1/machine/install:1")).toBe("registry-unreachable");
  });
});
