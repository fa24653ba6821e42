// Updates from a server with one fault, which is over after the first of them.
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { expect } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { listGenerations } from "../../src/generation/generations.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { snapshot } from "./device-fixture.ts";
import { blobOf, impatient, type PublishedSet, setFetch, updateTo } from "./fetch-fixture.ts";
import { serveLayout, type Tamper } from "./layout-server.ts";
import { newDevice, type Signers } from "./refusals-fixture.ts";

/** Every layer of the set is on the device, byte for byte. */
export async function expectWhole(device: AgentContext, set: PublishedSet): Promise<void> {
  for (const { layer } of set.images) {
    const { digest } = layer.descriptor;
    expect(digestOf(await readFile(blobOf(device, digest)))).toBe(digest);
  }
}

/** A layer that is large enough for a connection of its own. */
export function largeOf({ images: [image] }: PublishedSet): {
  bytes: Uint8Array;
  digest: Digest;
  config: Digest;
} {
  if (image === undefined) throw new Error("the set is empty");
  const { bytes, descriptor } = image.layer;
  return { bytes, digest: descriptor.digest, config: image.config.descriptor.digest };
}

/**
 * A device that is updated from a server with a fault, and again once the fault is over.
 * @returns how the first update ended
 */
export async function throughFault(signers: Signers, set: PublishedSet, fault: Tamper, expected: string) {
  let isFaulty = true;
  const authority = await serveLayout(set.directory, (request, response) => {
    return isFaulty && fault(request, response);
  });
  const reference = `${authority}/machine/install:1.0.0`;
  const device = await newDevice(signers);
  await setFetch(device, impatient);
  const begun = performance.now();
  const error = await updateTo(device, reference);
  expect(error.code, error.message).toBe(expected);
  // Every wait of the test's settings, and of what is tried again (4 s), together.
  expect(performance.now() - begun).toBeLessThan(20_000);
  expect(await listGenerations(device.places)).toEqual([]);
  // Beside the store there is nothing but the lock and what was there before.
  expect((await snapshot(device)).filter((line) => !/^(\.\.\/|lock)/.test(line))).toEqual([]);
  isFaulty = false;
  expect(await updateTo(device, reference)).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  return { error, device };
}

/** Answers so where `when` says, and as a good registry does elsewhere. */
export function on(
  when: (request: IncomingMessage) => boolean,
  answer: (response: ServerResponse, request: IncomingMessage) => void,
): Tamper {
  return (request, response) => {
    if (!when(request)) return false;
    answer(response, request);
    return true;
  };
}

export const isTag = ({ url }: IncomingMessage): boolean => url?.endsWith("/manifests/1.0.0") === true;
