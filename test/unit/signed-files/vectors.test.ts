// The format's conformance data, made with containers/validator 0.2.2: every byte of blobs and signatures.
import { readFileSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import * as z from "zod";
import { type Place, validatorPlace } from "./validator-fixture.ts";

const positive = z.object({
  name: z.string(),
  args: z.array(z.string()),
  file: z.string(),
  type: z.enum(["regular", "symlink"]),
  content_hex: z.string().optional(),
  content_zeros: z.number().optional(),
  rel_path: z.string(),
  blob_hex: z.string(),
  sig_hex: z.string(),
});
const negative = z.object({
  name: z.string(),
  file: z.string().optional(),
  args: z.array(z.string()).optional(),
  sig_hex: z.string().optional(),
  rc: z.number(),
  stderr: z.string(),
});
const vectors = z
  .object({
    key: z.object({ secret_pem: z.string(), public_pem: z.string() }),
    positive: z.array(positive),
    negative: z.array(negative),
  })
  .parse(JSON.parse(readFileSync(new URL("../../fixtures/validator-vectors.json", import.meta.url), "utf8")));

async function place(): Promise<Place> {
  const made = await validatorPlace();
  await made.put({ "s.pem": vectors.key.secret_pem, "p.pem": vectors.key.public_pem });
  return made;
}

async function putFile(at: Place, { file, type, content_hex, content_zeros }: z.infer<typeof positive>) {
  const content =
    content_hex === undefined ? Buffer.alloc(content_zeros ?? 0) : Buffer.from(content_hex, "hex");
  await mkdir(dirname(at.path(file)), { recursive: true });
  if (type === "symlink") await symlink(content.toString(), at.path(file));
  else await writeFile(at.path(file), content);
}

describe("signed as containers/validator signs", () => {
  test.each(vectors.positive)("$name", async (vector) => {
    const at = await place();
    await putFile(at, vector);
    const blob = await at.run("blob", ...vector.args, vector.file);
    expect(blob).toMatchObject({ code: 0, out: "", err: "" });
    expect(blob.bytes.toString("hex")).toBe(vector.blob_hex);
    expect(await at.run("sign", "--key=s.pem", ...vector.args, vector.file)).toMatchObject({
      code: 0,
      err: "",
    });
    expect((await readFile(at.path(`${vector.file}.sig`))).toString("hex")).toBe(vector.sig_hex);
    // A prefix can be signed and installed; to validate it there is no option.
    if (vector.args.some((arg) => arg.startsWith("-p") || arg.startsWith("--path-prefix"))) return;
    const validated = await at.run("validate", "--key=p.pem", ...vector.args, vector.file);
    expect(validated).toMatchObject({ code: 0, out: "", err: "" });
  });
});

describe("checked as containers/validator checks", () => {
  const [control] = vectors.negative;
  test.each(vectors.negative)("$name", async (vector) => {
    const at = await place();
    const file = vector.file ?? "t/a.txt";
    await at.put({ [file]: "hello\n" });
    await at.put({ [`${file}.sig`]: Buffer.from(vector.sig_hex ?? control?.sig_hex ?? "", "hex") });
    if (vector.name.includes("replaced by symlink")) {
      await rm(at.path(file));
      await symlink("elsewhere", at.path(file));
    }
    const { code, err } = await at.run("validate", "--key=p.pem", ...(vector.args ?? []), file);
    expect({ code, err }).toEqual({
      code: vector.rc,
      err: vector.stderr.replaceAll("$W", at.path("")).replaceAll("//", "/"),
    });
  });
});
