// The command line of `validator`: which word is the command, and which options it has. Pure. Taken as GOption takes
// it (the reference's start-up section): options anywhere, values attached or in the next word, short ones together.

const validatorCommands = ["sign", "validate", "install", "blob"] as const;
export type ValidatorCommand = (typeof validatorCommands)[number];

type Kind = "flag" | "count" | "text" | "list";
interface Option {
  readonly kind: Kind;
  readonly short?: string;
  /** For the help: what the value is. */
  readonly value?: string;
  readonly brief: string;
}

const common = {
  verbose: { kind: "count", short: "v", brief: "Say what is done" },
  version: { kind: "flag", brief: "Print the version, and end" },
  strict: { kind: "flag", brief: "Refuse what validator silently lets pass (not in containers/validator)" },
} as const satisfies Record<string, Option>;

const keys = {
  key: { kind: "list", value: "FILE", brief: "Public key (PEM); may be given several times" },
  "key-dir": { kind: "list", value: "DIR", brief: "Directory of public keys; may be given several times" },
} as const satisfies Record<string, Option>;
const recursive = { kind: "flag", short: "r", brief: "Take directories with all that is below" } as const;
const relativeTo = { kind: "text", value: "DIR", brief: "What signed names are relative to" } as const;
const pathPrefix = {
  kind: "text",
  short: "p",
  value: "PATH",
  brief: "Comes before every signed name",
} as const;

const optionsOf: Readonly<Record<ValidatorCommand, Readonly<Record<string, Option>>>> = {
  sign: {
    key: { kind: "text", value: "FILE", brief: "Private key (PEM, Ed25519)" },
    recursive,
    force: { kind: "flag", short: "f", brief: "Sign anew what has a signature" },
    "relative-to": relativeTo,
    "path-prefix": pathPrefix,
  },
  validate: { ...keys, recursive, "relative-to": relativeTo },
  install: {
    ...keys,
    config: { kind: "list", value: "FILE", brief: "What to install is in a configuration file" },
    "config-dir": { kind: "list", value: "DIR", brief: "What to install is in every file of a directory" },
    recursive,
    force: { kind: "flag", short: "f", brief: "Replace files that are there" },
    "relative-to": relativeTo,
    "path-prefix": pathPrefix,
  },
  blob: { "relative-to": relativeTo, "path-prefix": pathPrefix },
};

/** What a command line says. */
export interface CommandLine<Word extends string> {
  readonly command: ValidatorCommand | undefined;
  /** `-h`, `-?` or `--help`. */
  readonly wantsHelp: boolean;
  readonly flags: ReadonlySet<string>;
  readonly verbosity: number;
  /** Values in the order in which they came, of which a `text` has the last. */
  readonly values: ReadonlyMap<string, readonly Word[]>;
  readonly words: readonly Word[];
}

function isCommand(word: string): word is ValidatorCommand {
  return validatorCommands.some((command) => command === word);
}

class Reading<Word extends string> {
  readonly flags = new Set<string>();
  readonly values = new Map<string, Word[]>();
  readonly words: Word[] = [];
  verbosity = 0;
  wantsHelp = false;
  private readonly options: Readonly<Record<string, Option>>;
  private readonly args: Word[];
  private readonly asWord: (text: string) => Word;

  constructor(
    options: Readonly<Record<string, Option>>,
    args: readonly Word[],
    asWord: (text: string) => Word,
  ) {
    this.options = options;
    this.args = [...args];
    this.asWord = asWord;
  }

  /** @returns what is wrong */
  read(): string | undefined {
    for (let arg = this.args.shift(); arg !== undefined; arg = this.args.shift()) {
      if (this.wantsHelp) return undefined;
      if (arg === "--") {
        this.words.push(...this.args.splice(0));
      } else if (arg.startsWith("--")) {
        const problem = this.long(arg);
        if (problem !== undefined) return problem;
      } else if (arg.startsWith("-") && arg.length > 1) {
        const problem = this.cluster(arg);
        if (problem !== undefined) return problem;
      } else {
        this.words.push(arg);
      }
    }
    return undefined;
  }

  private set(name: string, kind: Kind): void {
    if (kind === "count") this.verbosity++;
    else this.flags.add(name);
  }

  private give(name: string, value: Word): void {
    this.values.set(name, [...(this.values.get(name) ?? []), value]);
  }

  private long(arg: Word): string | undefined {
    const equals = arg.indexOf("=");
    const name = arg.slice(2, equals < 0 ? undefined : equals);
    if (arg === "--help") {
      this.wantsHelp = true;
      return undefined;
    }
    const option = Object.hasOwn(this.options, name) ? this.options[name] : undefined;
    const isBare = option?.kind === "flag" || option?.kind === "count";
    if (option === undefined || (isBare && equals >= 0)) return `Unknown option ${arg}`;
    if (isBare) {
      this.set(name, option.kind);
      return undefined;
    }
    const value = equals < 0 ? this.args.shift() : this.asWord(arg.slice(equals + 1));
    if (value === undefined) return `Missing argument for --${name}`;
    this.give(name, value);
    return undefined;
  }

  private cluster(arg: Word): string | undefined {
    for (let i = 1; i < arg.length; i++) {
      const letter = arg[i] ?? "";
      if (letter === "h" || letter === "?") {
        this.wantsHelp = true;
        return undefined;
      }
      const found = Object.entries(this.options).find(([, { short }]) => short === letter);
      if (found === undefined) return `Unknown option ${arg}`;
      const [name, { kind }] = found;
      if (kind === "flag" || kind === "count") {
        this.set(name, kind);
        continue;
      }
      const value = i + 1 < arg.length ? this.asWord(arg.slice(i + 1)) : this.args.shift();
      if (value === undefined) return `Missing argument for -${letter}`;
      this.give(name, value);
      return undefined;
    }
    return undefined;
  }
}

/**
 * Reads a command line.
 * @param args the words after the program's name, of whatever kind of text
 * @param asWord makes a piece of such a word one again
 * @returns `error`: what is wrong, in validator's words
 */
export function readCommandLine<Word extends string>(
  args: readonly Word[],
  asWord: (text: string) => Word,
): CommandLine<Word> | { readonly error: string } {
  // The first word without a dash is the command, even where it was meant as the value of an option.
  const at = args.findIndex((arg) => !arg.startsWith("-"));
  const word = args[at];
  if (word !== undefined && !isCommand(word)) return { error: `Unsupported command '${word}'` };
  const options = word === undefined ? common : { ...common, ...optionsOf[word] };
  const reading = new Reading(options, word === undefined ? args : args.toSpliced(at, 1), asWord);
  const problem = reading.read();
  if (problem !== undefined) return { error: problem };
  const { flags, values, words, verbosity, wantsHelp } = reading;
  return { command: word, flags, values, words, verbosity, wantsHelp };
}

const synopses: Readonly<Record<ValidatorCommand, string>> = {
  sign: "sign --key=FILE [OPTION…] FILE…",
  validate: "validate --key=FILE [OPTION…] FILE…",
  install: "install --key=FILE [OPTION…] SOURCE… DESTINATION\n  install --config=FILE [OPTION…]",
  blob: "blob [OPTION…] FILE",
};
const briefs: Readonly<Record<ValidatorCommand, string>> = {
  sign: "Write a signature beside each file",
  validate: "Check files against their signatures",
  install: "Copy files whose signatures hold",
  blob: "Write to stdout what a signature of a file is made over",
};

function optionLines(options: Readonly<Record<string, Option>>): string {
  return Object.entries(options)
    .map(([name, { short, value, brief }]) => {
      const long = `--${name}${value === undefined ? "" : `=${value}`}`;
      return `  ${`${short === undefined ? "   " : `-${short},`} ${long}`.padEnd(26)} ${brief}`;
    })
    .join("\n");
}

/** The help of the program, or of one of its commands. @param program as the caller wrote it */
export function helpText(program: string, command: ValidatorCommand | undefined): string {
  const general = `  -h, --help                 Show this\n${optionLines(common)}\n`;
  if (command !== undefined) {
    const usage = synopses[command].replaceAll(/^ */gm, `  ${program} `);
    return `Usage:\n${usage}\n\n${briefs[command]}\n\nOptions:\n${optionLines(optionsOf[command])}\n${general}`;
  }
  const list = validatorCommands.map((name) => `  ${name.padEnd(10)} ${briefs[name]}`).join("\n");
  return `Usage:\n  ${program} [OPTION…] COMMAND …\n\nCommands:\n${list}\n\nOptions:\n${general}`;
}

/** Words that a shell can propose next. */
export function completions(words: readonly string[]): readonly string[] {
  const typed = words.at(-1) ?? "";
  const command = words.slice(0, -1).find(isCommand);
  const options = command === undefined ? common : { ...optionsOf[command], ...common };
  const names = Object.entries({ ...options, help: { kind: "flag", brief: "" } } as Record<
    string,
    Option
  >).map(([name, { value }]) => `--${name}${value === undefined ? "" : "="}`);
  const all = command === undefined ? [...validatorCommands, ...names] : names;
  return all.filter((word) => (typed !== "" || command === undefined ? word.startsWith(typed) : false));
}
