// The number of a generation on the command line.

/** @throws SyntaxError for what is no number of a generation */
export function parseGeneration(input: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(input)) return Number(input);
  throw new SyntaxError("a generation is a whole number, as mosctl history lists them");
}
