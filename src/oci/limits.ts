// How long and how much mos lets a registry take. A registry is not trusted: every wait and every body ends.
// (Limits of the documents themselves, in bytes, are in model.ts.)

export interface RegistryLimits {
  /** Milliseconds for name look-up, connection and TLS together. */
  readonly connectMs: number;
  /** Milliseconds from the end of a request to the end of the answer's headers. */
  readonly headersMs: number;
  /** Milliseconds without one byte, receiving or sending. Large bodies are looked at this often: up to twice. */
  readonly idleMs: number;
  /** Milliseconds that a registry may take to check and store a blob it has received whole. */
  readonly storeMs: number;
  /** Bytes per second that a transfer must reach on average over `rateWindowMs`. */
  readonly minBytesPerSecond: number;
  readonly rateWindowMs: number;
  /** Bytes of all headers of one answer. */
  readonly headerBytes: number;
  /** Redirects followed for one request. */
  readonly redirects: number;
  /** Connections that may break while one blob is fetched; each time it goes on where it stopped. */
  readonly resumes: number;
  /** Milliseconds to wait before what failed for a moment (5xx, 429, a reset) is asked for again, each time once. */
  readonly retriesMs: readonly number[];
  /** Bytes of a token server's answer. */
  readonly tokenBytes: number;
  /** Bytes of an error answer that are read; no more of it than a message can show. */
  readonly errorBytes: number;
  /** Pages of a list of referrers that are followed. */
  readonly pages: number;
}

export const defaultLimits: RegistryLimits = {
  connectMs: 10_000,
  headersMs: 30_000,
  idleMs: 30_000,
  storeMs: 300_000,
  minBytesPerSecond: 1024,
  rateWindowMs: 60_000,
  headerBytes: 16 * 1024,
  redirects: 5,
  resumes: 5,
  retriesMs: [1000, 3000],
  tokenBytes: 64 * 1024,
  errorBytes: 8 * 1024,
  pages: 16,
};
