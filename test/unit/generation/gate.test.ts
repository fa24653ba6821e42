// When a new generation counts as healthy, from what is seen of its services.
import { describe, expect, test } from "vitest";
import {
  type Accounts,
  type GatedService,
  judgeHealth,
  type Observation,
  observe,
  type Verdict,
} from "../../../src/generation/gate.ts";
import type { Health } from "../../../src/manifest/health-schema.ts";

const http: Health = {
  ...{ http: { port: 80, path: "/" }, interval: 1, timeout: 1, retries: 3, start_period: 0, required: true },
};
const gate = { timeout: 60, settle: 3 };

/** What comes of it when a service is seen like this, second by second; the last word repeats. */
function verdictAfter(
  health: Health | undefined,
  seconds: number,
  at: (second: number) => Partial<Observation>,
): Verdict {
  const services: readonly GatedService[] = [{ name: "web", health }];
  let accounts: Accounts = new Map();
  let verdict: Verdict = { kind: "wait", pending: [] };
  for (let second = 0; second <= seconds && verdict.kind === "wait"; second++) {
    const seen: Observation = { state: "up", restarts: 0, ...at(second) };
    accounts = observe(accounts, services, new Map([["web", seen]]), second * 1000);
    verdict = judgeHealth(accounts, services, gate, 0, second * 1000);
  }
  return verdict;
}

const bad = { probe: { ok: false, why: "answers 500" } } as const;
const good = { probe: { ok: true } } as const;

describe("a generation is healthy", () => {
  test("when its services are up and have stayed so", () => {
    expect(verdictAfter(undefined, 2, () => ({}))).toEqual({ kind: "wait", pending: [] });
    expect(verdictAfter(undefined, 3, () => ({})).kind).toBe("healthy");
  });

  test("at once when it has none", () => {
    expect(judgeHealth(new Map(), [], gate, 0, 0).kind).toBe("healthy");
  });

  test("when its services have answered, and only then", () => {
    expect(verdictAfter(http, 10, () => ({})).kind).toBe("wait");
    expect(verdictAfter(http, 10, (second) => (second === 5 ? good : {})).kind).toBe("healthy");
  });

  test("although the first attempts failed, in the time that a service has to start", () => {
    const slow = { ...http, start_period: 20 };
    expect(verdictAfter(slow, 30, (second) => (second < 15 ? bad : good)).kind).toBe("healthy");
    expect(verdictAfter(http, 30, (second) => (second < 15 ? bad : good)).kind).toBe("unhealthy");
  });
});

describe("a generation is not healthy", () => {
  test.each<[string, Health | undefined, (second: number) => Partial<Observation>, string]>([
    ["that systemd has given up", undefined, () => ({ state: "failed" }), "it has failed"],
    [
      "that is never up",
      undefined,
      () => ({ state: "starting" }),
      "not well within 60 s: it is still starting",
    ],
    ["that is not there", undefined, () => ({ state: "down" }), "not well within 60 s: it is not running"],
    ["that is restarted again and again", undefined, (s) => ({ restarts: s }), "it was restarted 3 times"],
    [
      "that goes down before it has settled",
      undefined,
      (s) => ({ state: s % 2 === 0 ? "up" : "down" }),
      "not well within 60 s",
    ],
    ["that answers wrongly", http, () => bad, "answers 500"],
    ["that is never asked", http, () => ({}), "not well within 60 s: it has not been asked yet"],
  ])("with a service %s", (_, health, at, why) => {
    const verdict = verdictAfter(health, 100, at);
    expect(verdict).toMatchObject({ kind: "unhealthy", services: [{ name: "web" }] });
    if (verdict.kind === "unhealthy") expect(verdict.services[0]?.why).toContain(why);
  });

  test("with one wrong answer fewer than it may have, followed by a right one, it is", () => {
    expect(verdictAfter(http, 20, (second) => (second % 3 === 2 ? good : bad)).kind).toBe("wait");
    expect(verdictAfter(http, 20, (second) => (second < 2 ? bad : good)).kind).toBe("healthy");
  });
});
