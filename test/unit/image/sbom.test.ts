import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseApkDatabase, parseDpkgStatus } from "../../../src/image/installed-packages.ts";
import { sbom } from "../../../src/image/sbom.ts";

const status = `Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Source: glibc
Version: 2.41-12
Description: GNU C Library: Shared libraries
 This is on more lines.
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 1:2025b-4
`;

const apk = `C:Q1abc=
P:musl
V:1.2.5-r9
A:x86_64
L:MIT
o:musl
F:lib
R:libc.so

P:busybox
V:1.37.0-r12
A:x86_64
L:GPL-2.0-only
`;

describe("packages of a root", () => {
  test("are those that dpkg has installed, and not what is left of others", () => {
    expect(parseDpkgStatus(status)).toEqual([
      {
        ...{ manager: "deb", name: "libc6", version: "2.41-12", architecture: "amd64", source: "glibc" },
        supplier: "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
      },
      { manager: "deb", name: "tzdata", version: "1:2025b-4", architecture: "all" },
    ]);
  });

  test("are those of apk's database", () => {
    expect(parseApkDatabase(apk)).toEqual([
      {
        ...{ manager: "apk", name: "musl", version: "1.2.5-r9", architecture: "x86_64" },
        ...{ source: "musl", license: "MIT" },
      },
      {
        manager: "apk",
        name: "busybox",
        version: "1.37.0-r12",
        architecture: "x86_64",
        license: "GPL-2.0-only",
      },
    ]);
  });

  test("are read of any text without failing", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseDpkgStatus(text);
        parseApkDatabase(text);
      }),
    );
  });
});

describe("the SBOM of an image", () => {
  const packages = [...parseDpkgStatus(status), ...parseApkDatabase(apk)];
  const input = {
    ...{ name: "demo", release: "1.0", rootHash: "ab".repeat(32), epoch: 1_700_000_000 },
    ...{ distribution: "debian", packages, services: undefined },
  };
  const document = JSON.parse(sbom(input));

  test("is of SPDX 2.3, and the same each time", () => {
    expect(document).toMatchObject({
      ...{ spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: "demo-1.0" },
      creationInfo: { created: "2023-11-14T22:13:20Z" },
    });
    expect(document.documentNamespace).toMatch(/^urn:uuid:[0-9a-f-]{36}$/);
    expect(sbom(input)).toBe(JSON.stringify(document, undefined, 1).concat("\n"));
  });

  test("has every package with its purl, once, in what the image contains", () => {
    const purls = document.packages.flatMap((one: { externalRefs?: { referenceLocator: string }[] }) =>
      (one.externalRefs ?? []).map(({ referenceLocator }) => referenceLocator),
    );
    expect(purls).toEqual([
      "pkg:deb/debian/libc6@2.41-12?arch=amd64",
      "pkg:deb/debian/tzdata@1:2025b-4?arch=all",
      "pkg:apk/debian/musl@1.2.5-r9?arch=x86_64",
      "pkg:apk/debian/busybox@1.37.0-r12?arch=x86_64",
    ]);
    const ids: string[] = document.packages.map(({ SPDXID }: { SPDXID: string }) => SPDXID);
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^SPDXRef-[A-Za-z0-9.-]+$/);
    const related: string[] = document.relationships.map(
      ({ relatedSpdxElement }: { relatedSpdxElement: string }) => relatedSpdxElement,
    );
    expect(related.toSorted()).toEqual(ids.toSorted());
  });
});
