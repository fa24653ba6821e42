// The name of a service, as an argument.

export const serviceArgument = {
  brief: "the service, as mosctl services calls it",
  placeholder: "SERVICE",
  // What a manifest allows (manifest/names.ts), and so nothing that another program could take for an option.
  parse: (input: string): string => {
    if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(input) && !input.includes("..")) return input;
    throw new SyntaxError("a service's name has letters, digits, '_', '.' and '-' only");
  },
} as const;
