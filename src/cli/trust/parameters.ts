// Parameters that several commands of `trust` take, with their completions.
import { listKeysets } from "../../trust/keyset.ts";
import { keysetsDirectory } from "../../trust/keyset-files.ts";
import type { CliContext } from "../command.ts";

/** The directory of all keysets, for this command's environment. */
export function rootOf(context: CliContext): string {
  return keysetsDirectory(context.terminal.env);
}

/** A word, taken as it is; what may be in it is decided where it is used. */
export function word(input: string): string {
  return input;
}

/** The name of an existing keyset. */
export const keysetParameter = {
  brief: "name of the keyset",
  placeholder: "KEYSET",
  parse: word,
  async proposeCompletions(this: CliContext, partial: string): Promise<readonly string[]> {
    const names = await listKeysets(rootOf(this));
    return names.filter((name) => name.startsWith(partial));
  },
} as const;
