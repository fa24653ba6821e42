// Named points at which a test can make mos fail, hang, die or take the machine down: MOS_FAULT=TAG:KIND[,TAG:KIND…]
// in the environment. Only in builds made for it (`./dev build --faults`) and where the sources run as they are; a
// release build has none of it and refuses to start with MOS_FAULT set. What a fault does: fault-injection.ts.

/** Put in by the build; absent when the sources run as they are. */
declare const MOS_FAULTS: boolean | undefined;

/** Where a fault can come: before the step of that name does anything. A test can go through them all. */
export const faultTags = [
  "update.fetch-manifest",
  "update.verify",
  "update.preflight",
  "update.fetch-images",
  "update.stage",
  "update.add",
  "update.end",
  "rollback.verify",
  "rollback.stage",
  "rollback.end",
  "trial.journal",
  "trial.activate",
  "trial.health",
  "trial.verdict",
  "commit.record",
  "commit.generation",
  "commit.current",
  "commit.remember",
  "commit.forget",
  "commit.end",
  "revert.record",
  "revert.activate",
  "revert.end",
  "resume.journal",
  "boot.load",
  "boot.remember",
  "boot.apply",
  "boot.end",
  "system.install",
  "system.bless",
  "system.back",
  "system.withdraw",
  "apply.stop",
  "apply.write",
  "apply.reload",
  "apply.start",
  "apply.end",
  "gc.generations",
  "gc.store",
  "gc.leftovers",
  "gc.idmaps",
] as const;
export type FaultTag = (typeof faultTags)[number];

/**
 * A fault point. Does nothing unless MOS_FAULT names it and it has not come before.
 * @throws an error as the system would give it, for the kinds that are one
 */
export async function fault(tag: FaultTag): Promise<void> {
  // So written that the bundler sees what a release cannot reach, and leaves it out.
  if (typeof MOS_FAULTS !== "boolean" || MOS_FAULTS) {
    const wanted = process.env["MOS_FAULT"];
    if (wanted === undefined) return;
    const { inject } = await import("./fault-injection.ts");
    await inject(tag, wanted);
  }
}
