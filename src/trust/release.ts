// Which release may follow which (DESIGN section 3, "Rollback" and "Freshness"): serial, epoch and expiry. Pure.
import { MosError } from "../errors/mos-error.ts";
import type { ClockReading } from "./clock.ts";

/** What a manifest says of its place among all releases; one without `release` comes before all others. */
export interface ReleaseNumber {
  readonly serial: number;
  readonly epoch: number;
}

/** The lowest epoch that a device accepts, and what remembers it. */
export interface EpochFloor {
  readonly epoch: number;
  /** As an error names it: `the TPM`. */
  readonly source: string;
}

/**
 * How far one release may raise the epoch. A stolen key must not be able to use all epochs up with one manifest
 * (attack A05), and a counter in a TPM is raised one by one, each time writing to its memory.
 */
export const maxEpochStep = 16;

/** Place of a manifest without `release`. */
export const unnumbered: ReleaseNumber = { serial: 0, epoch: 0 };

/**
 * An epoch below the floor is refused for ever, at apply and at boot.
 * @throws MosError `release-epoch-low`
 */
export function checkEpoch({ epoch }: ReleaseNumber, floor: EpochFloor): void {
  if (epoch >= floor.epoch) return;
  throw new MosError(
    "release-epoch-low",
    `cannot accept a manifest of epoch ${epoch}: ${floor.source} says that this device is in epoch ${floor.epoch}`,
    { about: `epoch ${epoch}` },
  );
}

interface Succession {
  readonly next: ReleaseNumber;
  /** Whether both are the same bytes. */
  readonly isSame: boolean;
  /** What runs, or undefined when nothing does. */
  readonly running: ReleaseNumber | undefined;
  readonly floor: EpochFloor;
  /** Somebody said that going back within the epoch is what they want. */
  readonly allowOlder: boolean;
}

/**
 * Whether a release may be applied after the one that runs.
 * @throws MosError `release-epoch-low`, `release-epoch-jump`, `release-older`
 */
export function checkSuccession({ next, isSame, running, floor, allowOlder }: Succession): void {
  checkEpoch(next, floor);
  const from = Math.max(floor.epoch, running?.epoch ?? 0);
  if (next.epoch - from > maxEpochStep) {
    throw new MosError(
      "release-epoch-jump",
      `cannot go from epoch ${from} to ${next.epoch}: one release raises it by ${maxEpochStep} at most`,
      { about: `epoch ${next.epoch}` },
    );
  }
  if (running === undefined || isSame || allowOlder || next.epoch > running.epoch) return;
  if (next.epoch === running.epoch && next.serial > running.serial) return;
  // Neither has a number: nobody claims an order.
  if (next.serial === 0 && running.serial === 0 && next.epoch === running.epoch) return;
  const shown = ({ epoch, serial }: ReleaseNumber) => `serial ${serial} of epoch ${epoch}`;
  const reused = next.epoch === running.epoch && next.serial === running.serial;
  throw new MosError(
    "release-older",
    reused
      ? `cannot apply another manifest with the number of the one that runs, ${shown(next)}`
      : `cannot apply ${shown(next)}: ${shown(running)} runs here`,
    { about: shown(next) },
  );
}

/**
 * Whether a manifest may still be applied. What is installed never expires: this is not asked at boot.
 * @throws MosError `release-expired`
 */
export function checkExpiry(expires: string | undefined, now: ClockReading): void {
  if (expires === undefined || now.date.getTime() <= Date.parse(expires)) return;
  throw new MosError(
    "release-expired",
    `cannot apply a manifest that expired on ${expires}: ${now.source} says ${now.date.toISOString()}`,
    { about: expires },
  );
}
