/** Put in by the build (esbuild's `define`); absent when the sources run as they are. */
declare const MOS_VERSION: string | undefined;

/** The version of this executable, `dev` when it was not built. */
export function mosVersion(): string {
  return typeof MOS_VERSION === "string" ? MOS_VERSION : "dev";
}
