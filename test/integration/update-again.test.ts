// An update to what runs already: one request, and no work.
import { rm } from "node:fs/promises";
import { expect, onTestFinished, test } from "vitest";
import { updateEnding } from "./device-fixture.ts";
import { serveLayout } from "./layout-server.ts";
import { goodParts, makeSigners, newDevice, packImage, published } from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

test("asks the registry once, and takes little of the device's time", async () => {
  const work = await makeWorkDirectory();
  onTestFinished(() => rm(work, { recursive: true, force: true }));
  const signers = await makeSigners();
  const { directory } = await published(goodParts(signers, await packImage(work, 1, "service")));
  const asked: string[] = [];
  const authority = await serveLayout(directory, (request) => {
    asked.push(`${request.method} ${request.url}`);
    return false;
  });
  const device = await newDevice(signers);
  const reference = `${authority}/machine/install:1.0.0`;
  expect((await updateEnding(device, reference)).code).toBe("updated");
  expect(asked.length).toBeGreaterThan(5);
  const taken: number[] = [];
  for (let i = 0; i < 5; i++) {
    asked.length = 0;
    const before = process.cpuUsage();
    expect((await updateEnding(device, reference)).code).toBe("unchanged");
    const { user, system } = process.cpuUsage(before);
    taken.push((user + system) / 1000);
    expect(asked).toEqual([expect.stringMatching(/^GET .*\/manifests\/1\.0\.0$/)]);
  }
  // The least of them: the others had the collector's work or a cold cache in them as well.
  expect(Math.min(...taken)).toBeLessThan(150);
});
