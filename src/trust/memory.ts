// What must not be forgotten when a disk is put back to an older copy: the lowest epoch, and which handovers and
// revocations were accepted. A TPM can hold it; a file can only where nobody else writes to the disk.

interface Remembered {
  /** The lowest epoch that is accepted. */
  readonly epoch: number;
  /** The fold of all accepted trust records (handover.ts), or undefined when this memory keeps none. */
  readonly record: Uint8Array | undefined;
}

export interface TrustMemory {
  /** As status and errors name it: `the TPM`. */
  readonly source: string;
  readonly kind: "tpm" | "file";
  read(): Promise<Remembered>;
  /** Raises the lowest epoch; never lowers it. Repeating it changes nothing. */
  raiseEpoch(to: number): Promise<void>;
  /** Folds one more manifest into the record. */
  extendRecord(manifest: Uint8Array): Promise<void>;
}
