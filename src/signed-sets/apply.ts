// Doing the steps of a journal, or taking them back. Each step looks first whether it was done: after a power cut all of
// them are gone through again. What is replaced or removed lies on the stage until the ledger says that it is gone.
import { lstat } from "node:fs/promises";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { removeTree } from "../system/atomic-file.ts";
import {
  changeMode,
  changeOwner,
  createDirectory,
  exchange,
  removeDirectory,
  rename,
} from "../system/durable.ts";
import type { Destination } from "./destination.ts";
import { type Journal, removeJournal, writeJournal, writeLedger } from "./ledger.ts";
import { parentOf } from "./set-manifest.ts";
import type { Ownership, Step } from "./steps.ts";

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

/** Gives a directory its mode and owner. */
async function setOwnership(path: string, { mode, uid, gid }: Ownership): Promise<void> {
  const before = await lstat(path);
  // Before the mode, because a change of owner takes bits of it away.
  if (before.uid !== uid || before.gid !== gid) await changeOwner(path, uid, gid);
  if ((before.mode & 0o7777) !== mode || before.uid !== uid) await changeMode(path, mode);
}

/** One run through the steps, in either direction. */
class Walk {
  private readonly destination: Destination;
  private readonly stage: string;

  /** @param stage path of the staged files, by a descriptor that stays open */
  constructor(destination: Destination, stage: string) {
    this.destination = destination;
    this.stage = stage;
  }

  private staged(name: string): string {
    return `${this.stage}/${name}`;
  }

  private touch(path: string): void {
    this.destination.touched.add(parentOf(path));
  }

  private async makeDirectory(path: string, at: string, as: Ownership): Promise<void> {
    if (!(await isThere(at))) await createDirectory(at, as.mode);
    this.touch(path);
    await setOwnership(`${at}/.`, as);
  }

  /** @param mayStay when it is not empty */
  private async dropDirectory(path: string, at: string, mayStay: boolean): Promise<void> {
    await this.destination.close();
    const spot = await this.destination.spot(path);
    if (spot === undefined) return;
    try {
      await removeDirectory(spot.at);
      this.destination.touched.delete(path);
      this.touch(path);
    } catch (error) {
      const code = systemCode(error);
      // Something else is there: the directory went already, or was not made yet.
      if (code === "ENOENT" || code === "ENOTDIR" || (mayStay && (code === "ENOTEMPTY" || code === "EEXIST")))
        return;
      throw Object.assign(error instanceof Error ? error : new Error(String(error)), { path: at });
    }
  }

  /** The spot of a path; undefined where its directory is missing or something else, so that nothing is in it. */
  private async spotIfAny(path: string): ReturnType<Destination["spot"]> {
    try {
      return await this.destination.spot(path);
    } catch (error) {
      if (error instanceof MosError && error.code === "signed-destination-unsafe") return undefined;
      throw error;
    }
  }

  async redo(step: Step): Promise<void> {
    const { path } = step;
    const isRemoval = step.do === "remove" || step.do === "rmdir";
    const spot = await (isRemoval ? this.spotIfAny(path) : this.destination.spot(path));
    // The directory went with what was in it: there is nothing left to remove.
    if (spot === undefined && isRemoval) return;
    if (spot === undefined)
      throw Object.assign(new Error(`the directory of ${path} is gone`), { code: "ENOENT" });
    const { at } = spot;
    switch (step.do) {
      case "remove":
        if (!(await isThere(this.staged(step.staged))) && (await isThere(at))) {
          await rename(at, this.staged(step.staged));
        }
        return this.touch(path);
      case "rmdir":
        return await this.dropDirectory(path, at, step.keep);
      case "mkdir":
        return await this.makeDirectory(path, at, step.as);
      case "change":
        return await setOwnership(`${at}/.`, step.as);
      case "create":
        if (await isThere(this.staged(step.staged))) {
          await rename(this.staged(step.staged), at);
        } else if (!(await this.destination.look(path, step.entry)).isAsListed) {
          throw Object.assign(new Error(`what ${path} was to be is lost`), { code: "ENOENT" });
        }
        return this.touch(path);
      case "replace":
        if (!(await this.destination.look(path, step.entry)).isAsListed) {
          await exchange(this.staged(step.staged), at);
        }
        return this.touch(path);
    }
  }

  async undo(step: Step): Promise<void> {
    const { path } = step;
    const spot = await this.spotIfAny(path);
    if (spot === undefined) return;
    const { at } = spot;
    switch (step.do) {
      case "remove":
        if (await isThere(this.staged(step.staged))) await rename(this.staged(step.staged), at);
        return this.touch(path);
      case "rmdir":
        return await this.makeDirectory(path, at, step.was);
      case "mkdir":
        return await this.dropDirectory(path, at, true);
      case "change":
        return await setOwnership(`${at}/.`, step.was);
      case "create":
        if ((await this.destination.look(path, step.entry)).isAsListed) {
          await rename(at, this.staged(step.staged));
        }
        return this.touch(path);
      case "replace":
        if ((await this.destination.look(path, step.entry)).isAsListed) {
          await exchange(this.staged(step.staged), at);
        }
        return this.touch(path);
    }
  }
}

async function syncTouched(destination: Destination): Promise<void> {
  if (destination.touched.size === 0) return;
  for (const path of [...destination.touched].sort()) await (await destination.open(path))?.sync();
  destination.touched.clear();
  await (await destination.open(destination.stageName))?.sync();
}

/** Removes the stage, and with it what was replaced. */
export async function clearStage(destination: Destination): Promise<void> {
  const top = await destination.open("");
  if (top === undefined || !(await isThere(top.at(destination.stageName)))) return;
  await removeTree(top.at(destination.stageName));
  await top.sync();
}

async function walk(destination: Destination, journal: Journal): Promise<void> {
  // A second view of the destination holds the stage open while the first goes from directory to directory.
  const view = destination.another();
  try {
    const stage = await view.open(view.stageName);
    const steps = new Walk(destination, stage?.at(".") ?? "/nonexistent");
    const isForward = journal.phase === "apply";
    let kind: Step["do"] | undefined;
    for (const step of isForward ? journal.steps : journal.steps.toReversed()) {
      // What goes into a new directory may not be durable before the directory, nor may a directory be gone before
      // what was taken out of it: each kind of step is on the disk before the next begins.
      if (step.do !== kind) await syncTouched(destination);
      kind = step.do;
      await (isForward ? steps.redo(step) : steps.undo(step));
    }
    await syncTouched(destination);
  } finally {
    await view.close();
  }
}

/** What happens between the steps of a journal and its end. */
export interface Trial {
  /** Before the first step. */
  readonly begins: () => Promise<void>;
  /** Throws where what was installed is to be taken back. */
  readonly passes: () => Promise<void>;
  readonly beforeReturn: () => Promise<void>;
  readonly afterReturn: () => Promise<void>;
}

/** Of what was before, the files are back, and the units are not. */
function notStarted(first: unknown): (second: unknown) => MosError {
  return (second) =>
    new MosError(
      "set-unhealthy",
      "what was installed was taken back, and the units of before could not be started",
      {
        problems: [asMosError(first).message, asMosError(second).message],
        cause: second,
      },
    );
}

/** Takes back what a journal did, to its end. */
async function goBack(state: string, destination: Destination, journal: Journal): Promise<void> {
  await walk(destination, { ...journal, phase: "undo" });
  await removeJournal(state, journal);
  await clearStage(destination);
}

/** Goes on with a journal that is on the disk, to its end. */
async function goOn(state: string, destination: Destination, journal: Journal, trial?: Trial): Promise<void> {
  await trial?.begins();
  await walk(destination, journal);
  await trial?.passes();
  // From here on there is no way back: whoever finds the ledger must not find a trial.
  if (journal.trial) await writeJournal(state, { ...journal, trial: false });
  await writeLedger(state, journal.ledger);
  await removeJournal(state, journal);
  await clearStage(destination);
}

/**
 * Goes on with a journal; where that fails, goes back. One that was found on trial goes back at once.
 * @returns why it went back; undefined when the journal's ledger holds
 * @throws the system's error when it can do neither: the journal stays for the next try
 */
export async function finishOrGoBack(
  state: string,
  destination: Destination,
  journal: Journal,
  trial?: Trial,
): Promise<unknown> {
  const isOver = journal.phase === "undo" || (journal.trial && trial === undefined);
  if (isOver) {
    await goBack(state, destination, journal);
    return new MosError("set-unhealthy", `set ${journal.ledger.name} was on trial when it was interrupted`);
  }
  try {
    await goOn(state, destination, journal, trial);
    return undefined;
  } catch (error) {
    await trial?.beforeReturn();
    await writeJournal(state, { ...journal, phase: "undo" });
    await goBack(state, destination, journal);
    return (await trial?.afterReturn().then(() => undefined, notStarted(error))) ?? error;
  }
}
