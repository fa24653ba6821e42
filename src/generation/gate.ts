// The health gate: from what is seen of a new generation's services, again and again, to the verdict. Pure; times are
// milliseconds of one monotonic clock.
import type { Gate, Health } from "../manifest/health-schema.ts";
import type { Reason } from "./transaction.ts";

/** A service that has to be well before the generation counts. */
export interface GatedService {
  readonly name: string;
  /** Undefined: it is well when systemd says that it is up. */
  readonly health: Health | undefined;
}

/** What was seen of one service. */
export interface Observation {
  /** `down`: neither up nor on its way, `failed`: systemd has given it up. */
  readonly state: "up" | "starting" | "down" | "failed";
  /** How often systemd has restarted it. */
  readonly restarts: number;
  /** Outcome of an attempt that ended since the last look; undefined when there was none. */
  readonly probe?: { readonly ok: true } | { readonly ok: false; readonly why: string } | undefined;
}

/** The account of one service. */
interface Account {
  readonly firstRestarts: number;
  readonly restarts: number;
  /** Since when it is up. */
  readonly upSince: number | undefined;
  /** Since when it is well. */
  readonly wellSince: number | undefined;
  /** Failed attempts, one after the other. */
  readonly failures: number;
  readonly problem: string;
}

export type Accounts = ReadonlyMap<string, Account>;

/** Restarts after which a service is not given more time: its program ends as soon as it is started. */
const maxRestarts = 3;

export type Verdict =
  | { readonly kind: "wait"; readonly pending: readonly string[] }
  | { readonly kind: "healthy" }
  | {
      readonly kind: "unhealthy";
      readonly services: readonly { readonly name: string; readonly why: string }[];
    };

function isProbed(health: Health | undefined): boolean {
  // `exec` is podman's part: systemd is told of the start when it has succeeded.
  return health !== undefined && (health.http !== undefined || health.tcp !== undefined);
}

const stateTexts = {
  starting: "it is still starting",
  down: "it is not running",
  failed: "it has failed",
} as const;

/** Enters what was seen of one service. */
function enter(
  before: Account | undefined,
  { health }: GatedService,
  seen: Observation,
  now: number,
): Account {
  const first = before?.firstRestarts ?? seen.restarts;
  const base = { firstRestarts: first, restarts: seen.restarts };
  if (seen.state !== "up") {
    return {
      ...base,
      upSince: undefined,
      wellSince: undefined,
      failures: 0,
      problem: stateTexts[seen.state],
    };
  }
  // A restart that nobody saw begins everything anew.
  const same = before?.restarts === seen.restarts ? before : undefined;
  const upSince = same?.upSince ?? now;
  if (health === undefined || !isProbed(health)) {
    return { ...base, upSince, wellSince: same?.wellSince ?? now, failures: 0, problem: "" };
  }
  const { probe } = seen;
  if (probe === undefined) {
    const { wellSince, failures = 0, problem = "it has not been asked yet" } = same ?? {};
    return { ...base, upSince, wellSince, failures, problem };
  }
  if (probe.ok) return { ...base, upSince, wellSince: same?.wellSince ?? now, failures: 0, problem: "" };
  const counts = now - upSince >= health.start_period * 1000;
  const failures = counts ? (same?.failures ?? 0) + 1 : 0;
  return { ...base, upSince, wellSince: undefined, failures, problem: probe.why };
}

/** The accounts after one more look at all services. */
export function observe(
  accounts: Accounts,
  services: readonly GatedService[],
  seen: ReadonlyMap<string, Observation>,
  now: number,
): Accounts {
  const missing: Observation = { state: "down", restarts: 0 };
  return new Map(
    services.map((service) => {
      const { name } = service;
      return [name, enter(accounts.get(name), service, seen.get(name) ?? missing, now)] as const;
    }),
  );
}

/** Why a service will not become well any more; undefined while it may. */
function lost({ health }: GatedService, account: Account): string | undefined {
  if (account.problem === stateTexts.failed) return account.problem;
  const restarts = account.restarts - account.firstRestarts;
  if (restarts >= maxRestarts) return `it was restarted ${restarts} times`;
  if (health !== undefined && account.failures >= health.retries) return account.problem;
  return undefined;
}

/**
 * The verdict at a time.
 * @param begun when the trial began
 */
export function judgeHealth(
  accounts: Accounts,
  services: readonly GatedService[],
  { timeout, settle }: Pick<Gate, "timeout" | "settle">,
  begun: number,
  now: number,
): Verdict {
  const each = services.flatMap((service) => {
    const account = accounts.get(service.name);
    return account === undefined ? [] : [{ service, account }];
  });
  const losers = each.flatMap(({ service, account }) => {
    const why = lost(service, account);
    return why === undefined ? [] : [{ name: service.name, why }];
  });
  if (losers.length > 0) return { kind: "unhealthy", services: losers };
  const pending = each.filter(({ account }) => account.wellSince === undefined);
  if (pending.length === 0 && each.length === services.length) {
    const since = Math.max(begun, ...each.map(({ account }) => account.wellSince ?? now));
    if (each.length === 0 || now - since >= settle * 1000) return { kind: "healthy" };
  }
  if (now - begun > timeout * 1000) {
    const late = pending.length > 0 ? pending : each;
    const why = (problem: string) => `not well within ${timeout} s: ${problem || "it does not stay up"}`;
    return {
      kind: "unhealthy",
      services: late.map(({ service, account }) => ({ name: service.name, why: why(account.problem) })),
    };
  }
  return { kind: "wait", pending: pending.map(({ service }) => service.name) };
}

/** For a person and for the journal. */
export function unhealthyReason(
  services: readonly { readonly name: string; readonly why: string }[],
): Reason {
  const list = services.map(({ name, why }) => `${name}: ${why}`).join("; ");
  return { code: "generation-unhealthy", message: list };
}
