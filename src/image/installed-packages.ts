// Which packages are installed in a root, as its own package manager says: dpkg's status (deb-control(5)), apk's
// database, and rpm's, which only rpm itself can read.
import { readdir, readFile } from "node:fs/promises";
import { RootTree } from "../elf/root-tree.ts";
import { run } from "../system/process.ts";

export interface InstalledPackage {
  readonly manager: "deb" | "apk" | "rpm";
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Of the source package, where it is known. */
  readonly source?: string;
  /** As the package says it: an SPDX expression or something like one. */
  readonly license?: string;
  readonly supplier?: string;
}

/** Paragraphs of `Field: value` lines; what continues a field on further lines is passed over. */
function* paragraphs(text: string): Generator<ReadonlyMap<string, string>> {
  for (const paragraph of text.split(/\n\n+/)) {
    const fields = new Map<string, string>();
    for (const line of paragraph.split("\n")) {
      const found = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$/.exec(line);
      if (found?.[1] !== undefined && !fields.has(found[1])) fields.set(found[1], found[2] ?? "");
    }
    if (fields.size > 0) yield fields;
  }
}

/** Of dpkg's status file those that are installed. */
export function parseDpkgStatus(text: string): InstalledPackage[] {
  const found: InstalledPackage[] = [];
  for (const fields of paragraphs(text)) {
    const [name, version] = [fields.get("Package"), fields.get("Version")];
    if (name === undefined || version === undefined || !fields.get("Status")?.endsWith(" installed"))
      continue;
    const source = fields.get("Source")?.split(" ")[0];
    const supplier = fields.get("Maintainer");
    found.push({
      ...{ manager: "deb", name, version, architecture: fields.get("Architecture") ?? "all" },
      ...(source === undefined ? {} : { source }),
      ...(supplier === undefined ? {} : { supplier }),
    });
  }
  return found;
}

/** apk-tools' database: lines of one letter, a colon and a value; an empty line ends a package. */
export function parseApkDatabase(text: string): InstalledPackage[] {
  return text.split("\n\n").flatMap((paragraph) => {
    const field = (letter: string): string | undefined =>
      new RegExp(`^${letter}:(.*)$`, "m").exec(paragraph)?.[1];
    const [name, version, source, license] = [field("P"), field("V"), field("o"), field("L")];
    if (name === undefined || version === undefined) return [];
    return [
      {
        ...{ manager: "apk" as const, name, version, architecture: field("A") ?? "noarch" },
        ...(source === undefined ? {} : { source }),
        ...(license === undefined ? {} : { license }),
      },
    ];
  });
}

/** What `rpm --queryformat` prints with {@link rpmFormat}. */
function parseRpmList(text: string): InstalledPackage[] {
  return text.split("\n").flatMap((line) => {
    const [name, version, architecture, license, supplier] = line.split("\t");
    if (name === undefined || version === undefined || architecture === undefined) return [];
    return [
      {
        ...{ manager: "rpm" as const, name, version, architecture },
        ...(license === undefined ? {} : { license }),
        ...(supplier === undefined || supplier === "(none)" ? {} : { supplier }),
      },
    ];
  });
}

const rpmFormat = "%{NAME}\\t%{EVR}\\t%{ARCH}\\t%{LICENSE}\\t%{VENDOR}\\n";

/**
 * All packages of a root, sorted by name.
 * @throws MosError `program-missing` for a root of rpm's where rpm is not installed, `io-failed`
 */
export async function installedPackages(tree: string): Promise<readonly InstalledPackage[]> {
  const root = new RootTree([tree]);
  const text = async (path: string): Promise<string | undefined> => {
    const found = root.find(path);
    return found?.kind === "file" ? await readFile(found.host, "utf8") : undefined;
  };
  const found: InstalledPackage[] = [];
  const status = await text("/var/lib/dpkg/status");
  if (status !== undefined) found.push(...parseDpkgStatus(status));
  // Images without a package manager have one file for each package.
  const parts = root.find("/var/lib/dpkg/status.d");
  for (const name of parts?.kind === "directory" ? (await readdir(parts.host)).sort() : []) {
    if (!name.endsWith(".md5sums"))
      found.push(
        ...parseDpkgStatus(
          `Status: install ok installed\n${(await text(`/var/lib/dpkg/status.d/${name}`)) ?? ""}`,
        ),
      );
  }
  const apk = (await text("/lib/apk/db/installed")) ?? (await text("/usr/lib/apk/db/installed"));
  if (apk !== undefined) found.push(...parseApkDatabase(apk));
  const rpm = root.find("/usr/lib/sysimage/rpm") ?? root.find("/var/lib/rpm");
  if (rpm?.kind === "directory") {
    const args = ["--dbpath", rpm.host, "--query", "--all", "--queryformat", rpmFormat];
    found.push(...parseRpmList((await run("rpm", args)).stdout));
  }
  const key = ({ manager, name, architecture }: InstalledPackage): string =>
    `${manager} ${name} ${architecture}`;
  return found.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}
