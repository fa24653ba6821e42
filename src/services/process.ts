// What a service's process is: what its image says (OCI image specification 1.1, config), and over that what the
// manifest says.
import type { ImageOverrides } from "../manifest/image-schema.ts";
import type { ImageConfig } from "../oci/model.ts";

type OwnConfig = ImageConfig["config"];

/** Program and arguments. An entrypoint of the manifest takes the image's arguments with its entrypoint. */
export function argvOf(over: ImageOverrides | undefined, own: OwnConfig): string[] {
  const entrypoint = over?.entrypoint ?? own?.Entrypoint ?? [];
  const cmd = over?.cmd ?? (over?.entrypoint === undefined ? own?.Cmd : undefined) ?? [];
  return [...entrypoint, ...cmd];
}

/** `USER[:GROUP]`; empty is root. */
export function userOf(over: ImageOverrides | undefined, own: OwnConfig): string {
  return over?.user ?? own?.User ?? "";
}

/** `NAME=value`, each name once: the manifest's after the image's, and instead of it. */
export function environmentOf(over: ImageOverrides | undefined, own: OwnConfig): string[] {
  const added = over?.env ?? [];
  const nameOf = (variable: string) => variable.slice(0, Math.max(0, variable.indexOf("=")));
  const names = new Set(added.map(nameOf));
  return [...(own?.Env ?? []).filter((variable) => !names.has(nameOf(variable))), ...added];
}

export function workingDirectoryOf(over: ImageOverrides | undefined, own: OwnConfig): string {
  return over?.working_dir ?? own?.WorkingDir ?? "";
}

export function stopSignalOf(over: ImageOverrides | undefined, own: OwnConfig): string {
  return over?.stop_signal ?? own?.StopSignal ?? "";
}
