// What the machine lanes test: ./dev test says which files; a test file that is run by itself makes them (15 s).
import { buildPackage } from "../tools/package.ts";
import type { Flavour } from "../tools/stamp.ts";

/** The executable and the package of this checkout. */
export async function buildUnderTest(
  flavour?: Flavour,
): Promise<{ readonly executable: string; readonly packageFile: string }> {
  const executable = process.env["MOS_TEST_EXECUTABLE"];
  const packageFile = process.env["MOS_TEST_PACKAGE"];
  return executable === undefined || packageFile === undefined
    ? await buildPackage(flavour)
    : { executable, packageFile };
}
