// mosctl update --unattended, which mos-update.timer calls: the device moves to what its channel names, when it may. That
// it may not now is an answer, not a failure.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { reachedAt, rolloutPlace, rolloutShare } from "../generation/rollout.ts";
import { isInWindow, nextOpening } from "../generation/update-window.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { AgentContext } from "./context.ts";
import { deviceKey } from "./device-key.ts";
import { whoIsBusy } from "./idle.ts";
import type { Progress } from "./progress.ts";
import { type UpdateResult, update } from "./update.ts";
import { loadUpdateSettings, type UpdateSettings } from "./update-settings.ts";

export type UnattendedResult =
  | {
      /** `skipped`: not now, or not by itself; `why` says so. */
      readonly outcome: "skipped";
      readonly why: string;
      /** When it is worth asking again, where that is known (RFC 3339). */
      readonly next?: string;
    }
  | ({ readonly channel: string } & UpdateResult);

/** Errors that say that there is nothing to do here by itself. */
const answers: ReadonlySet<string> = new Set([
  "update-postponed",
  // Given up here before: until somebody says so, or the channel names another.
  "generation-failed-before",
  // The channel names what came before; going back needs a person.
  "release-older",
]);

class Postponed extends MosError {
  readonly next: Date | undefined;

  constructor(why: string, next?: Date) {
    super("update-postponed", why);
    this.next = next;
  }
}

/** @throws MosError `update-postponed` outside the window, or while somebody is busy */
async function checkTime(context: AgentContext, settings: UpdateSettings, now: Date): Promise<void> {
  const { window, whenIdle } = settings;
  if (now.getTime() < context.buildTime.getTime()) {
    throw new Postponed(`the clock is not set: it says ${now.toISOString()}, before mos was built`);
  }
  if (window !== undefined) {
    const zone = window.clock === "utc" ? "UTC" : undefined;
    if (!isInWindow(window, now, zone)) {
      const days = window.days.join(", ");
      const text = `outside the window (${window.from} to ${window.to} ${window.clock}, ${days})`;
      throw new Postponed(text, nextOpening(window, now, zone));
    }
  }
  const busy = whenIdle ? await whoIsBusy(context) : [];
  if (busy.length > 0) throw new Postponed(`the device is in use by ${busy.slice(0, 5).join(", ")}`);
}

/** @throws MosError `update-postponed` when the release has not reached this device */
async function checkRollout(context: AgentContext, manifest: InstallManifest, now: Date): Promise<void> {
  const rollout = manifest.release?.rollout;
  if (rollout === undefined) return;
  const share = rolloutShare(rollout, now);
  const identity = await deviceKey(context);
  // A device that cannot tell who it is comes last.
  const place = identity === undefined ? 99 : rolloutPlace(identity, manifest);
  if (place < share) return;
  const serial = `serial ${manifest.release?.serial}`;
  throw new Postponed(
    `${serial} has reached ${Math.floor(share)} % of all devices, and this one is at ${place} %`,
    reachedAt(rollout, place),
  );
}

/**
 * Moves the device to what its channel names, if it may now.
 * @param now when this was asked; what is decided later in the update is decided by the clock then
 * @throws MosError of the update, `update-settings-invalid`
 */
export async function unattendedUpdate(
  context: AgentContext,
  now: Date,
  progress: Progress,
  signal: AbortSignal,
): Promise<UnattendedResult> {
  const settings = await loadUpdateSettings(context.updateSettings);
  if (settings === undefined) {
    return { outcome: "skipped", why: `no channel is set (${context.updateSettings[0] ?? "update.json"})` };
  }
  const begun = performance.now();
  const clock = () => new Date(now.getTime() + performance.now() - begun);
  const options = { allowOlder: false, retry: false };
  try {
    await checkTime(context, settings, now);
    const result = await update(context, settings.channel, options, progress, {
      signal,
      admit: async (manifest) => {
        if (settings.rollout === "follow") await checkRollout(context, manifest, clock());
      },
      beforeActivation: () => checkTime(context, settings, clock()),
    });
    return { channel: settings.channel, ...result };
  } catch (thrown) {
    const error = asMosError(thrown);
    if (!answers.has(error.code)) throw error;
    const next = error instanceof Postponed ? error.next : undefined;
    return {
      outcome: "skipped",
      why: error.message,
      ...(next === undefined ? {} : { next: next.toISOString() }),
    };
  }
}
