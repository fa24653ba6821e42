import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadAnchors } from "../../../src/trust/anchors.ts";
import { make } from "./authority.ts";

const execute = promisify(execFile);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "anchors-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);
const source = (name: string): `file:${string}` => `file:${path(name)}`;
const code = (error: string) => expect.objectContaining({ code: error });

describe("trust anchors", () => {
  test("come from every file that is there, in the order of the policy, with their source", async () => {
    const [first, second] = await Promise.all([
      make({ ca: true, subject: "CN=A" }),
      make({ ca: true, subject: "CN=B" }),
    ]);
    await writeFile(path("one.pem"), second.pem);
    await writeFile(path("two.pem"), first.pem + second.pem);
    const anchors = await loadAnchors([source("absent.pem"), source("one.pem"), source("two.pem")]);
    expect(anchors.map((anchor) => [anchor.source, anchor.certificate.subject.text])).toEqual([
      [source("one.pem"), "CN=B"],
      [source("two.pem"), "CN=A"],
    ]);
  });

  test("are missed by name when there is none", async () => {
    await expect(loadAnchors([source("a.pem"), source("b.pem")])).rejects.toEqual(code("anchor-missing"));
    await expect(loadAnchors([])).rejects.toEqual(code("anchor-missing"));
  });

  test.each<[string, () => Promise<unknown>]>([
    ["is empty", () => writeFile(path("ca.pem"), "")],
    ["holds no PEM", () => writeFile(path("ca.pem"), "hello")],
    ["holds a certificate that is no CA", async () => writeFile(path("ca.pem"), (await make({})).pem)],
    ["is too large", () => writeFile(path("ca.pem"), "\n".repeat(70_000))],
    ["is a pipe that nobody writes to", () => execute("mkfifo", [path("ca.pem")])],
    ["is a directory", () => mkdir(path("ca.pem"))],
  ])("stop everything when a file %s, even if another is good", async (_, prepare) => {
    await prepare();
    await writeFile(path("good.pem"), (await make({ ca: true })).pem);
    await expect(loadAnchors([source("ca.pem"), source("good.pem")])).rejects.toEqual(code("anchor-invalid"));
  });
});
