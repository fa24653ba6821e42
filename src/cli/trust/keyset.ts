// `trust keyset add|list|show`.
import { buildCommand } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import { addKeyset, listKeysets } from "../../trust/keyset.ts";
import { findKey, itemPath, itemValue, type KeyView, viewKeyset } from "../../trust/keyset-view.ts";
import { type KeyType, keyTypes, manifestCa } from "../../trust/profiles.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, keyValues, table } from "../output.ts";
import { startProgress } from "../progress.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

const day = "YYYY-MM-DD".length;

function dateOf(view: KeyView): Cell {
  return view.certificate?.notAfter.slice(0, day) ?? { text: view.problem ?? "", look: "red" };
}

function isProject(view: KeyView): boolean {
  return view.key.startsWith("manifest:");
}

export const keysetAdd = withExamples(
  buildCommand<JsonFlag & { org?: readonly string[]; keyType: KeyType }, [string], CliContext>({
    docs: {
      brief: "Make a new keyset",
      fullDescription: `Makes every key and certificate of a keyset. The manifest CA's certificate is what devices need to carry;
private keys are readable by you alone and never printed. An existing keyset is never touched.`,
    },
    parameters: {
      flags: {
        org: {
          kind: "parsed",
          parse: word,
          brief: "Organization in the CA's name",
          placeholder: "NAME",
          optional: true,
          variadic: true,
        },
        keyType: {
          kind: "enum",
          values: keyTypes,
          brief: "Keys that sign manifests; those of EFI and TPM are always RSA",
          default: "rsa2048",
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "name of the new keyset", placeholder: "KEYSET", parse: word }],
      },
    },
    async func(flags, name) {
      const { stdout } = this.terminal;
      const root = rootOf(this);
      const progress = startProgress(this.terminal, {
        what: "making keys",
        unit: "items",
        json: flags.json === true,
      });
      let path: string;
      try {
        path = await addKeyset({
          root,
          name,
          organizations: flags.org ?? [],
          keyType: flags.keyType,
          onKey: (key, index, count) => progress.update(index, count, key),
        });
      } finally {
        progress.stop();
      }
      const keys = await viewKeyset(root, name);
      if (flags.json) return stdout.write(jsonText({ name, path, keys }));
      const ca = keys.find((key) => key.key === manifestCa);
      stdout.write(`Made the keyset ${name}: ${keys.length} keys.\n\n`);
      stdout.write(
        keyValues(stdout, [
          ["directory", path],
          ["manifest CA", ca?.certificate?.subject],
          ["  certificate", ca === undefined ? undefined : itemPath(ca, "cert.pem")],
          ["  key", ca?.certificate?.key],
          ["  valid until", ca === undefined ? undefined : dateOf(ca)],
          ["  SHA-256", ca?.certificate?.fingerprint],
        ]),
      );
      stdout.write(`\nNext: trust project add ${name} PROJECT\n`);
    },
  }),
  [
    ["trust keyset add demo", "RSA keys, accepted by every reader of the format"],
    [
      'trust keyset add fleet --org "Example Ltd" --key-type p256',
      "P-256 keys for manifests, an organization in the CA's name",
    ],
  ],
);

export const keysetList = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "List the keysets",
      fullDescription: "Lists every keyset with its manifest CA and its projects.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const root = rootOf(this);
      const keysets = await Promise.all(
        (await listKeysets(root)).map(async (name) => {
          const keys = await viewKeyset(root, name);
          const ca = keys.find((key) => key.key === manifestCa);
          return { name, projects: keys.filter(isProject).map((key) => key.key.split(":")[1] ?? ""), ca };
        }),
      );
      if (flags.json) {
        const documents = keysets.map(({ name, projects, ca }) => ({
          name,
          projects,
          manifestCa: ca?.certificate,
        }));
        return stdout.write(jsonText({ directory: root, keysets: documents }));
      }
      if (keysets.length === 0) {
        return stdout.write(`There is no keyset in ${root}.\nMake one with: trust keyset add NAME\n`);
      }
      const rows = keysets.map(({ name, projects, ca }): readonly Cell[] => [
        name,
        ca?.certificate?.key ?? "-",
        ca === undefined ? "-" : dateOf(ca),
        projects.length === 0 ? { text: "none", look: "dim" } : projects.join(", "),
      ]);
      stdout.write(table(stdout, ["KEYSET", "MANIFEST CA", "VALID UNTIL", "PROJECTS"], rows));
    },
  }),
  [["trust keyset list --json", "the same for a script"]],
);

/** The block that shows one key. */
function describe(context: CliContext, view: KeyView): string {
  const { stdout } = context.terminal;
  const { certificate } = view;
  return keyValues(stdout, [
    ["key", view.key],
    ["directory", view.path],
    ["subject", certificate?.subject],
    ["issuer", certificate?.issuer === certificate?.subject ? "itself" : certificate?.issuer],
    ["type", certificate === undefined ? undefined : `${certificate.key}${certificate.isCa ? ", CA" : ""}`],
    ["valid from", certificate?.notBefore],
    ["valid until", certificate?.notAfter],
    ["SHA-256", certificate?.fingerprint],
    ...Object.entries(view.values),
    ["files", view.items.join(", ")],
    ["problem", view.problem === undefined ? undefined : { text: view.problem, look: "red" }],
  ]);
}

interface ShowFlags extends JsonFlag {
  readonly path?: boolean;
  readonly value?: boolean;
}

async function showKeyset(context: CliContext, flags: ShowFlags, keyset: string): Promise<void> {
  const { stdout } = context.terminal;
  const root = rootOf(context);
  const keys = await viewKeyset(root, keyset);
  const path = `${root}/${keyset}`;
  if (flags.path) return stdout.write(flags.json ? jsonText({ path }) : `${path}\n`);
  if (flags.json) return stdout.write(jsonText({ name: keyset, path, keys }));
  const rows = keys.map((key): readonly Cell[] => [
    key.key,
    key.certificate?.key ?? "-",
    dateOf(key),
    key.certificate?.subject ?? "-",
  ]);
  stdout.write(table(stdout, ["KEY", "TYPE", "VALID UNTIL", "SUBJECT"], rows));
}

async function showItem(context: CliContext, flags: ShowFlags, view: KeyView, item: string): Promise<void> {
  const { stdout } = context.terminal;
  const path = itemPath(view, item);
  if (flags.path) return stdout.write(flags.json ? jsonText({ path }) : `${path}\n`);
  const value = await itemValue(view, item);
  if (flags.json) return stdout.write(jsonText({ path, value }));
  stdout.write(value.endsWith("\n") ? value : `${value}\n`);
}

export const keysetShow = withExamples(
  buildCommand<ShowFlags, [string, string?, string?], CliContext>({
    docs: {
      brief: "Show a keyset, a key of it, or a file of a key",
      fullDescription: `Shows what certificates say and where files are. KEY is a name from the list, or manifest:PROJECT; ITEM is one of
its files. A private key is never printed: --path tells where it is.`,
    },
    parameters: {
      flags: {
        path: {
          kind: "boolean",
          brief: "Print the path and nothing else",
          optional: true,
          withNegated: false,
        },
        value: {
          kind: "boolean",
          brief: "Print the file itself: the certificate without ITEM",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [
          keysetParameter,
          { brief: "name of the key", placeholder: "KEY", parse: word, optional: true },
          { brief: "name of a file of the key", placeholder: "ITEM", parse: word, optional: true },
        ],
      },
    },
    async func(flags, keyset, key, item) {
      if (flags.path === true && flags.value === true)
        throw new MosError("usage", "cannot print both a path and a value");
      if (key === undefined) {
        if (flags.value) throw new MosError("usage", "cannot print the value of a keyset: name a key");
        return await showKeyset(this, flags, keyset);
      }
      const { stdout } = this.terminal;
      const view = await findKey(rootOf(this), keyset, key);
      if (item !== undefined || flags.value) return await showItem(this, flags, view, item ?? "cert.pem");
      if (flags.path) return stdout.write(flags.json ? jsonText({ path: view.path }) : `${view.path}\n`);
      stdout.write(flags.json ? jsonText(view) : describe(this, view));
    },
  }),
  [
    ["trust keyset show demo", "every key with its type and its end"],
    ["trust keyset show demo manifest-ca --value > manifestCA.pem", "the certificate that devices carry"],
    ["trust keyset show demo manifest:zot privkey.pem --path", "where a private key is"],
  ],
);
