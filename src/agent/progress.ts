// What a long operation tells while it runs. The names of the steps are those of the documentation and the log.

const updateSteps = [
  "fetch manifest",
  "verify",
  "preflight",
  "fetch images",
  "stage",
  "activate",
  "health",
  "commit",
  "go back",
] as const;
export type UpdateStep = (typeof updateSteps)[number];

export type ProgressEvent =
  | { readonly kind: "step"; readonly step: UpdateStep }
  /** Bytes fetched so far of all that must be fetched. */
  | { readonly kind: "bytes"; readonly done: number; readonly total: number }
  /** Services that are not well yet; none while they have to stay so. */
  | { readonly kind: "waiting"; readonly services: readonly string[] }
  /** Another operation holds the device, and is waited for; or something that is not to be disturbed is. */
  | { readonly kind: "held"; readonly by: string };

export type Progress = (event: ProgressEvent) => void;
