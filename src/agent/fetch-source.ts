// What an update reads from: the source that a reference names, in the way that this device is set up to fetch, and
// what stops all of its downloads at once.
import { setMaxListeners } from "node:events";
import { loadFetchSettings, networkOf } from "../oci/fetch-settings.ts";
import { openRepositories, type Repositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository } from "../oci/source.ts";
import type { AgentContext } from "./context.ts";

export interface FetchSource extends Repositories<Repository> {
  /** Downloads at a time. */
  readonly parallel: number;
  readonly signal: AbortSignal;
  /** Breaks off whatever is being fetched; nothing can be fetched from this source any more. */
  readonly stop: (reason: unknown) => void;
  /** Why it was stopped first. */
  stoppedBy(): unknown;
}

/**
 * Opens a source; nothing is connected to yet.
 * @throws MosError `reference-invalid`, `fetch-settings-invalid`, `permission-denied`
 */
export async function openSource(context: AgentContext, reference: string): Promise<FetchSource> {
  const parsed = parseReference(reference);
  const settings = await loadFetchSettings(context.fetchSettings);
  const controller = new AbortController();
  const { signal } = controller;
  // Every connection listens to it.
  setMaxListeners(0, signal);
  let first: unknown;
  const network = await networkOf(settings, process.env, signal);
  return {
    ...openRepositories(parsed, network),
    parallel: settings.parallel,
    signal,
    stop: (reason) => {
      first ??= reason;
      // Not the reason itself: what is stopped has not failed, and what has come of it stays.
      controller.abort(new Error("stopped"));
    },
    stoppedBy: () => first,
  };
}
