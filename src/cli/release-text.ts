// How a release's number is shown.

/** `serial 7 of epoch 2, to be applied before 2027-01-31T00:00:00Z`; undefined for a manifest without a number. */
export function releaseText(
  release:
    | { readonly serial: number; readonly epoch: number; readonly expires?: string | undefined }
    | undefined,
): string | undefined {
  if (release === undefined) return undefined;
  const { serial, epoch, expires } = release;
  return `serial ${serial} of epoch ${epoch}${expires === undefined ? "" : `, to be applied before ${expires}`}`;
}
