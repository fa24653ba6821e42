// Completion: a small script per shell that calls the command back with the hidden word `__complete` and the
// words typed so far; each line of the answer is a proposal, a tab, and what it means.
import { type Application, proposeCompletions } from "@stricli/core";
import type { CliContext } from "./command.ts";
import { escapeControls } from "./output.ts";

/** The first word that asks for proposals instead of running a command. */
export const completeWord = "__complete";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

const scripts: Readonly<Record<Shell, (name: string, id: string) => string>> = {
  // `-o default`: file names where the command has nothing to propose.
  bash: (name, id) => `# ${name} completion bash > /etc/bash_completion.d/${name}
_${id}_complete() {
  mapfile -t COMPREPLY < <("\${COMP_WORDS[0]}" ${completeWord} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)
}
complete -o default -F _${id}_complete ${name}
`,
  zsh: (name, id) => `#compdef ${name}
# ${name} completion zsh > "\${fpath[1]}/_${name}"
_${id}_complete() {
  local line
  local -a proposals
  for line in "\${(@f)$("\${words[1]}" ${completeWord} "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] && proposals+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  if (( \${#proposals} )); then _describe '${name}' proposals; else _files; fi
}
compdef _${id}_complete ${name}
`,
  fish: (name, id) => `# ${name} completion fish > ~/.config/fish/completions/${name}.fish
function __${id}_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  ${name} ${completeWord} $words[2..-1] "$current" 2>/dev/null
end
complete -c ${name} -f -a '(__${id}_complete)'
complete -c ${name} -n 'not __${id}_complete | string length -q' -F
`,
};

/** The script that a shell reads to complete a command of this name. */
export function completionScript(shell: Shell, name: string): string {
  return scripts[shell](name, name.replaceAll(/[^a-z0-9]/g, "_"));
}

/** Proposals for the last of the words, one per line. Whatever fails while proposing proposes nothing. */
export async function proposals(
  app: Application<CliContext>,
  words: readonly string[],
  context: CliContext,
): Promise<string> {
  const found = await proposeCompletions(app, words, context).catch(() => []);
  return found
    .map(({ completion, brief }) => `${escapeControls(completion)}\t${escapeControls(brief)}\n`)
    .join("");
}
