import { describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { checkLock, encodeLock, type ImageLock, parseLock } from "../../../src/image/lock.ts";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const bash = { name: "bash", version: "5.2", architecture: "amd64", digest: digest("a") };
const libc = { name: "libc6", version: "2.41", architecture: "amd64", digest: digest("b") };
const lock: ImageLock = {
  version: 1,
  epoch: 1_700_000_000,
  root: { packages: [bash, libc] },
  files: { "b.deb": digest("2"), "a.deb": digest("1") },
  services: digest("c"),
};

const differences = (actual: ImageLock): readonly string[] => {
  try {
    checkLock(lock, actual, "image.lock.json");
  } catch (error) {
    if (error instanceof MosError && error.code === "image-lock-mismatch") return error.problems;
    throw error;
  }
  return [];
};

describe("the lock of an image", () => {
  test("is read back as it was written, whatever the order of its files", () => {
    const text = encodeLock(lock);
    expect(parseLock(Buffer.from(text), "x")).toEqual(lock);
    const turned = { ...lock, files: { "a.deb": digest("1"), "b.deb": digest("2") } };
    expect(encodeLock(turned)).toBe(text);
  });

  test("says nothing when the inputs are the same, even at another time", () => {
    expect(differences({ ...lock, epoch: 1 })).toEqual([]);
  });

  test.each<[string, ImageLock, string]>([
    [
      "a newer package",
      { ...lock, root: { packages: [{ ...bash, version: "5.3" }, libc] } },
      "package bash:amd64: 5.2",
    ],
    [
      "another file of the same version",
      { ...lock, root: { packages: [bash, { ...libc, digest: digest("d") }] } },
      "libc6",
    ],
    ["one package less", { ...lock, root: { packages: [bash] } }, "package libc6:amd64: 2.41 (sha256:bbbb"],
    ["another file", { ...lock, files: { ...lock.files, "a.deb": digest("9") } }, "file a.deb: sha256:1111"],
    ["other services", { ...lock, services: digest("e") }, "services: sha256:cccc"],
  ])("refuses %s by its name", (_, actual, what) => {
    expect(differences(actual)).toEqual([expect.stringContaining(what)]);
  });

  test("refuses a root of another kind", () => {
    expect(differences({ ...lock, root: { digest: digest("f") } })).toHaveLength(3);
  });

  test.each<[string, string]>([
    ["is cut off", encodeLock(lock).slice(0, -20)],
    ["has a digest that is none", encodeLock(lock).replace("sha256:a", "md5:a")],
    ["is of another version", encodeLock(lock).replace('"version": 1', '"version": 2')],
    ["has a key too many", encodeLock(lock).replace('"epoch"', '"age": 1, "epoch"')],
  ])("is refused when it %s", (_, text) => {
    expect(() => parseLock(Buffer.from(text), "x")).toThrow(
      expect.objectContaining({ code: "document-invalid" }),
    );
  });
});
