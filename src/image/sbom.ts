// What an image is made of, as an SPDX 2.3 document in JSON (ISO/IEC 5962). The same image gives the same bytes: its
// time is that of the image, and its namespace comes from the root hash.
import type { Json } from "../system/json.ts";
import { mosVersion } from "../system/version.ts";
import type { InstalledPackage } from "./installed-packages.ts";
import { uuidFrom } from "./stable-uuid.ts";

interface SbomInput {
  readonly name: string;
  readonly release: string;
  /** 64 hex digits: the image's own checksum, as far as its root goes. */
  readonly rootHash: string;
  /** Seconds. */
  readonly epoch: number;
  /** As os-release says it (ID). */
  readonly distribution: string;
  readonly packages: readonly InstalledPackage[];
  /** Digest of the manifest of the services that come with it. */
  readonly services: string | undefined;
}

const unknown = "NOASSERTION";

/** Package URL (purl specification, types deb, apk and rpm). */
function purl({ manager, name, version, architecture }: InstalledPackage, distribution: string): string {
  const part = (text: string): string => encodeURIComponent(text).replaceAll("%3A", ":");
  return `pkg:${manager}/${part(distribution)}/${part(name)}@${part(version)}?arch=${part(architecture)}`;
}

/** SPDX 2.3, 7.1: letters, digits, "." and "-". */
const spdxId = (text: string): string => `SPDXRef-${text.replace(/[^A-Za-z0-9.-]/g, "-")}`;

function packageEntry(one: InstalledPackage, distribution: string): Json {
  const { manager, name, version, architecture, license, supplier, source } = one;
  return {
    name,
    SPDXID: spdxId(`${manager}-${name}-${architecture}`),
    versionInfo: version,
    supplier: supplier === undefined ? unknown : `Organization: ${supplier}`,
    downloadLocation: unknown,
    filesAnalyzed: false,
    licenseConcluded: unknown,
    // What a package says is not always an expression that SPDX knows; it is kept as a comment.
    licenseDeclared: unknown,
    ...(license === undefined ? {} : { licenseComments: `Declared by the package: ${license}` }),
    copyrightText: unknown,
    ...(source === undefined ? {} : { sourceInfo: `built from the source package ${source}` }),
    externalRefs: [
      {
        referenceCategory: "PACKAGE-MANAGER",
        referenceType: "purl",
        referenceLocator: purl(one, distribution),
      },
    ],
  };
}

/** The document's text. */
export function sbom(input: SbomInput): string {
  const { name, release, rootHash, epoch, distribution, packages, services } = input;
  const image = spdxId(`image-${name}`);
  const entries = packages.map((one) => packageEntry(one, distribution));
  const ids = packages.map(({ manager, name: of, architecture }) =>
    spdxId(`${manager}-${of}-${architecture}`),
  );
  const document: Json = {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `${name}-${release}`,
    documentNamespace: `urn:uuid:${uuidFrom(rootHash, "sbom")}`,
    creationInfo: {
      created: new Date(epoch * 1000).toISOString().replace(".000Z", "Z"),
      creators: [`Tool: mosb-${mosVersion()}`],
    },
    packages: [
      {
        name,
        SPDXID: image,
        versionInfo: release,
        supplier: unknown,
        downloadLocation: unknown,
        filesAnalyzed: false,
        licenseConcluded: unknown,
        licenseDeclared: unknown,
        copyrightText: unknown,
        primaryPackagePurpose: "OPERATING-SYSTEM",
        comment: `dm-verity root hash of the host's root: ${rootHash}${services === undefined ? "" : `; services: ${services}`}`,
      },
      ...entries,
    ],
    relationships: [
      { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: image },
      ...ids.map((id) => ({ spdxElementId: image, relationshipType: "CONTAINS", relatedSpdxElement: id })),
    ],
  };
  return `${JSON.stringify(document, undefined, 1)}\n`;
}
