// With tpm2-tools, the other implementation: what it makes we use, what we make it uses, and both compute the same.
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { nvAttributes as attribute } from "../../src/tpm/constants.ts";
import { createPrimary, hierarchyEntity, readPersistent } from "../../src/tpm/keys.ts";
import { nameOfNv, nameOfPublic } from "../../src/tpm/names.ts";
import {
  counterAttributes,
  defineNv,
  incrementNv,
  readNv,
  readNvPublicArea,
  writeNv,
} from "../../src/tpm/nv.ts";
import { type NvPublic, nvIndex } from "../../src/tpm/nv-public.ts";
import { extendPcr, readPcrs } from "../../src/tpm/pcr.ts";
import { selectPcrs } from "../../src/tpm/pcr-selection.ts";
import { digestOfPolicy, type Policy, pcrStep } from "../../src/tpm/policy.ts";
import { approvalMessage } from "../../src/tpm/policy-digest.ts";
import { decodeSizedPublic } from "../../src/tpm/public.ts";
import { keyObjectOf, publicFromPem } from "../../src/tpm/public-key.ts";
import { quote, verifyQuote } from "../../src/tpm/quote.ts";
import { decodeResponseCode } from "../../src/tpm/response-code.ts";
import { seal, unseal } from "../../src/tpm/seal.ts";
import { emptyAuthorization } from "../../src/tpm/session.ts";
import { signatureOfBytes } from "../../src/tpm/signature.ts";
import { attestationKeyTemplate, storageKeyHandle, storageKeyTemplate } from "../../src/tpm/templates.ts";
import {
  approver,
  byOwner,
  bytes,
  clearTpm,
  failure,
  swtpmForFile,
  text,
  withAuth,
  withPolicy,
} from "./tpm-fixture.ts";

const it = swtpmForFile();
const tool = async (program: string, ...args: readonly string[]): Promise<string> =>
  (await it.swtpm.tool(program, ...args)).stdout;
const file = (name: string): string => join(it.directory, name);
const contents = async (name: string): Promise<Uint8Array> => new Uint8Array(await readFile(file(name)));
/** The tools leave their objects and sessions in a TPM without a resource manager. */
async function flush(): Promise<void> {
  await tool("tpm2_flushcontext", "-t");
  await tool("tpm2_flushcontext", "-l");
  await tool("tpm2_flushcontext", "-s");
}

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

beforeEach(async () => {
  await flush();
  await using tpm = await it.open();
  await clearTpm(tpm);
});

/** The storage key as provisioning software leaves it. */
async function makeStorageKey(): Promise<void> {
  const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
  await tool("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "srk.ctx", "-a", attributes);
  await tool("tpm2_evictcontrol", "-C", "o", "-c", "srk.ctx", `0x${storageKeyHandle.toString(16)}`);
  await flush();
}

async function pcrPolicy(...pcrs: readonly number[]): Promise<Policy> {
  await using tpm = await it.open();
  return [pcrStep("sha256", await readPcrs(tpm, "sha256", pcrs))];
}

describe("the storage key", () => {
  test("is the same whoever makes it", async () => {
    await makeStorageKey();
    await using tpm = await it.open();
    const theirs = await readPersistent(tpm, storageKeyHandle);
    await using ours = await createPrimary(tpm, "owner", emptyAuthorization, storageKeyTemplate);
    expect(ours.name).toEqual(theirs.name);
  });
});

describe("a sealed secret", () => {
  test("of ours is opened by tpm2_unseal", async () => {
    await makeStorageKey();
    const policy = await pcrPolicy(7, 11);
    {
      await using tpm = await it.open();
      const sealed = await seal(tpm, bytes("from mos"), { policy });
      await writeFile(file("mos.pub"), sealed.public);
      await writeFile(file("mos.priv"), sealed.private);
    }
    const parent = `0x${storageKeyHandle.toString(16)}`;
    await tool("tpm2_load", "-C", parent, "-u", "mos.pub", "-r", "mos.priv", "-c", "mos.ctx");
    expect(await tool("tpm2_unseal", "-c", "mos.ctx", "-p", "pcr:sha256:7,11")).toBe("from mos");
  });

  test("of tpm2_create is opened by us, and only under its policy", async () => {
    await makeStorageKey();
    await tool("tpm2_createpolicy", "--policy-pcr", "-l", "sha256:7,11", "-L", "pcr.policy");
    await writeFile(file("secret"), "from tpm2-tools", { mode: 0o600 });
    const parent = `0x${storageKeyHandle.toString(16)}`;
    const made = ["-u", "tools.pub", "-r", "tools.priv", "-L", "pcr.policy", "-i", "secret"];
    await tool("tpm2_create", "-C", parent, ...made);
    await flush();
    const policy = await pcrPolicy(7, 11);
    expect(digestOfPolicy(policy)).toEqual(await contents("pcr.policy"));
    await using tpm = await it.open();
    const sealed = { public: await contents("tools.pub"), private: await contents("tools.priv") };
    expect(text(await unseal(tpm, sealed, { policy }))).toBe("from tpm2-tools");
    await extendPcr(tpm, 11, "sha256", new Uint8Array(32));
    expect(await failure(unseal(tpm, sealed, { policy }))).toMatchObject({ code: "tpm-refused" });
  });

  test("with an authorization value is opened by either with it", async () => {
    await makeStorageKey();
    const policy: Policy = [{ kind: "auth-value" }];
    const authValue = bytes("pin");
    const parent = `0x${storageKeyHandle.toString(16)}`;
    {
      await using tpm = await it.open();
      const sealed = await seal(tpm, bytes("from mos"), { policy, authValue });
      await writeFile(file("pin.pub"), sealed.public);
      await writeFile(file("pin.priv"), sealed.private);
    }
    await tool("tpm2_load", "-C", parent, "-u", "pin.pub", "-r", "pin.priv", "-c", "pin.ctx");
    await tool("tpm2_startauthsession", "--policy-session", "-S", "pin.session");
    await tool("tpm2_policyauthvalue", "-S", "pin.session");
    expect(await tool("tpm2_unseal", "-c", "pin.ctx", "-p", "session:pin.session+pin")).toBe("from mos");
  });
});

describe("NV indices", () => {
  const index = nvIndex(0x01500021);
  const handle = "0x01500021";
  const plain: NvPublic = {
    index,
    nameHash: "sha256",
    attributes: attribute.ownerWrite | attribute.ownerRead | attribute.authRead,
    authPolicy: new Uint8Array(0),
    size: 1500,
  };

  test("of ours are read by tpm2_nvread, under the same Name", async () => {
    const content = new Uint8Array(randomBytes(1500));
    {
      await using tpm = await it.open();
      await defineNv(tpm, "owner", emptyAuthorization, plain);
      const written = await writeNv(tpm, plain, byOwner, content);
      expect(await readNvPublicArea(tpm, index)).toEqual(written);
    }
    await tool("tpm2_nvread", handle, "-C", "o", "-o", "nv.out");
    expect(await contents("nv.out")).toEqual(content);
    const said = await tool("tpm2_nvreadpublic", handle);
    const name = nameOfNv({ ...plain, attributes: plain.attributes | attribute.written });
    expect(said).toContain(`name: ${hex(name)}`);
  });

  test("of tpm2_nvdefine are read and written by us", async () => {
    const attributes = "ownerwrite|ownerread|authwrite|authread";
    await tool("tpm2_nvdefine", handle, "-C", "o", "-s", "1500", "-a", attributes, "-p", "nvauth");
    await writeFile(file("nv.in"), "x".repeat(1500));
    await tool("tpm2_nvwrite", handle, "-C", handle, "-P", "nvauth", "-i", "nv.in");
    {
      await using tpm = await it.open();
      const nv = await readNvPublicArea(tpm, index);
      if (nv === undefined) throw new Error("no index");
      await withAuth(tpm, bytes("nvauth"), async (_, access) => {
        const by = { by: "index", access } as const;
        expect(text(await readNv(tpm, nv, by))).toBe("x".repeat(1500));
        await writeNv(tpm, nv, by, bytes("yz"), 700);
      });
    }
    await tool(
      "tpm2_nvread",
      handle,
      "-C",
      handle,
      "-P",
      "nvauth",
      "-s",
      "4",
      "--offset",
      "699",
      "-o",
      "nv.out",
    );
    expect(text(await contents("nv.out"))).toBe("xyzx");
  });

  test("with an authorization value of ours are opened by tpm2_nvread with it", async () => {
    const nv = { ...plain, size: 6, attributes: attribute.authRead | attribute.authWrite };
    {
      await using tpm = await it.open();
      await withAuth(tpm, new Uint8Array(0), async (owner) => {
        await defineNv(tpm, "owner", owner, nv, bytes("our value"));
      });
      await withAuth(tpm, bytes("our value"), async (_, access) => {
        await writeNv(tpm, nv, { by: "index", access }, bytes("secret"));
      });
    }
    expect(await tool("tpm2_nvread", handle, "-C", handle, "-P", "our value")).toBe("secret");
    await expect(tool("tpm2_nvread", handle, "-C", handle, "-P", "another")).rejects.toThrow(/0x98e|auth/);
  });

  test("that count are counted on by tpm2_nvincrement", async () => {
    const nv = { ...plain, size: 8, attributes: counterAttributes };
    {
      await using tpm = await it.open();
      await defineNv(tpm, "owner", emptyAuthorization, nv);
      await incrementNv(tpm, nv, byOwner);
    }
    await tool("tpm2_nvread", handle, "-C", "o", "-o", "before");
    await tool("tpm2_nvincrement", handle, "-C", "o");
    await using tpm = await it.open();
    const now = await readNv(tpm, { ...nv, attributes: nv.attributes | attribute.written }, byOwner);
    const before = Buffer.from(await contents("before")).readBigUInt64BE();
    expect(Buffer.from(now).readBigUInt64BE()).toBe(before + 1n);
  });
});

describe("policy digests equal those of a trial session of tpm2-tools:", () => {
  /** Runs policy commands of the tools in one trial session; `-L` of the last one is the digest. */
  async function trial(...steps: readonly (readonly string[])[]): Promise<Uint8Array> {
    await tool("tpm2_startauthsession", "-S", "trial");
    for (const [program = "", ...args] of steps)
      await tool(program, "-S", "trial", "-L", "trial.policy", ...args);
    return await contents("trial.policy");
  }

  test("PolicyPCR, PolicyAuthValue and PolicyCommandCode after each other", async () => {
    const policy: Policy = [
      ...(await pcrPolicy(0, 7, 16)),
      { kind: "auth-value" },
      { kind: "command", command: "TPM2_Unseal" },
    ];
    const theirs = await trial(
      ["tpm2_policypcr", "-l", "sha256:0,7,16"],
      ["tpm2_policyauthvalue"],
      ["tpm2_policycommandcode", "TPM2_CC_Unseal"],
    );
    expect(digestOfPolicy(policy)).toEqual(theirs);
  });

  test("PolicySecret", async () => {
    const theirs = await trial(["tpm2_policysecret", "-c", "o", "-q", "726566"]);
    const step = { kind: "secret", entity: hierarchyEntity("owner"), reference: bytes("ref") } as const;
    expect(digestOfPolicy([step])).toEqual(theirs);
  });

  test("PolicyNvWritten", async () => {
    const theirs = await trial(["tpm2_policynvwritten", "s"]);
    expect(digestOfPolicy([{ kind: "nv-written", written: true }])).toEqual(theirs);
  });

  test("PolicyOR", async () => {
    const pcrs = await pcrPolicy(7);
    const pin: Policy = [{ kind: "auth-value" }];
    await writeFile(file("a.policy"), digestOfPolicy(pcrs));
    await writeFile(file("b.policy"), digestOfPolicy(pin));
    const theirs = await trial(["tpm2_policyor", "-l", "sha256:a.policy,b.policy"]);
    expect(digestOfPolicy([{ kind: "or", branches: [pcrs, pin] }])).toEqual(theirs);
  });

  test.for([
    ["equal", "eq"],
    ["notEqual", "neq"],
    ["greater", "ugt"],
    ["less", "ult"],
    ["greaterOrEqual", "uge"],
    ["lessOrEqual", "ule"],
  ] as const)("PolicyNV with %s", async ([operation, theirName]) => {
    await tool("tpm2_nvdefine", "0x1500020", "-C", "o", "-s", "4", "-a", "ownerwrite|ownerread|authread");
    await writeFile(file("version"), "0001");
    await tool("tpm2_nvwrite", "0x1500020", "-C", "o", "-i", "version");
    const theirs = await trial(["tpm2_policynv", "-C", "o", "-i", "version", "0x1500020", theirName]);
    await using tpm = await it.open();
    const nv = await readNvPublicArea(tpm, nvIndex(0x01500020));
    if (nv === undefined) throw new Error("no index");
    expect(digestOfPolicy([{ kind: "nv", nv, operand: bytes("0001"), offset: 0, operation }])).toEqual(
      theirs,
    );
  });

  test.for(["rsa", "ecc"] as const)("PolicyAuthorize by an %s key, whose Name is the same", async (kind) => {
    const key = approver(kind);
    await writeFile(file("approver.pem"), key.pem);
    const loaded = ["-C", "o", "-G", kind, "-u", "approver.pem", "-c", "approver.ctx", "-n", "approver.name"];
    await tool("tpm2_loadexternal", ...loaded);
    expect(nameOfPublic(key.public)).toEqual(await contents("approver.name"));
    const pcrs = await pcrPolicy(7);
    await writeFile(file("pcr.policy"), digestOfPolicy(pcrs));
    const theirs = await trial(["tpm2_policyauthorize", "-i", "pcr.policy", "-n", "approver.name"]);
    expect(digestOfPolicy([{ kind: "authorize", key: key.public }])).toEqual(theirs);
  });
});

describe("a device that the published system provisioned, or that we did", () => {
  /** As reference layouts have it: PCR 7 and the version index, approved by an RSA key. */
  async function provision() {
    const key = approver("rsa");
    const version: NvPublic = {
      index: nvIndex(0x01500020),
      nameHash: "sha256",
      attributes: attribute.ownerWrite | attribute.ownerRead | attribute.authRead,
      authPolicy: new Uint8Array(0),
      size: 4,
    };
    const written = { ...version, attributes: version.attributes | attribute.written };
    const policy: Policy = [
      ...(await pcrPolicy(7)),
      { kind: "nv", nv: written, operand: bytes("0001"), offset: 0, operation: "equal" },
    ];
    const signature = key.sign(approvalMessage(digestOfPolicy(policy), new Uint8Array(0)));
    const secret: NvPublic = {
      index: nvIndex(0x01500040),
      nameHash: "sha256",
      attributes: attribute.ownerWrite | attribute.ownerRead | attribute.policyRead | attribute.policyWrite,
      authPolicy: digestOfPolicy([{ kind: "authorize", key: key.public }]),
      size: 40,
    };
    await writeFile(file("luks.pem"), key.pem);
    await writeFile(file("luks.signed"), signature);
    await writeFile(file("luks.policy"), digestOfPolicy(policy));
    await writeFile(file("version"), "0001");
    const approval = { policy, signature: signatureOfBytes("rsa", signature) };
    return { version, secret, policy: [{ kind: "authorize", key: key.public, approval }] as Policy };
  }
  const passphrase = `trust-${"0123456789abcdef".repeat(3).slice(0, 34)}`;

  test("tpm2-tools read what we provisioned, and nothing after PCR 7 was extended", async () => {
    const { version, secret } = await provision();
    {
      await using tpm = await it.open();
      await defineNv(tpm, "owner", emptyAuthorization, version);
      await writeNv(tpm, version, byOwner, bytes("0001"));
      await defineNv(tpm, "owner", emptyAuthorization, secret);
      await writeNv(tpm, secret, byOwner, bytes(passphrase));
    }
    const read = async (): Promise<string> => {
      await flush();
      await tool(
        "tpm2_loadexternal",
        "-C",
        "o",
        "-G",
        "rsa",
        "-u",
        "luks.pem",
        "-c",
        "luks.ctx",
        "-n",
        "luks.name",
      );
      await tool("tpm2_createprimary", "-C", "n", "-c", "null.ctx");
      await tool("tpm2_flushcontext", "-t");
      await tool("tpm2_startauthsession", "--policy-session", "-S", "luks.session", "-c", "null.ctx");
      await tool("tpm2_policypcr", "-S", "luks.session", "-l", "sha256:7");
      await tool(
        "tpm2_policynv",
        "-S",
        "luks.session",
        "-C",
        "0x1500020",
        "-i",
        "version",
        "0x1500020",
        "eq",
      );
      const digest = createHash("sha256")
        .update(await contents("luks.policy"))
        .digest();
      await writeFile(file("luks.digest"), digest);
      const verify = [
        "-c",
        "luks.ctx",
        "-g",
        "sha256",
        "-m",
        "luks.policy",
        "-s",
        "luks.signed",
        "-f",
        "rsassa",
      ];
      await tool("tpm2_verifysignature", ...verify, "-t", "luks.ticket");
      const approve = ["-S", "luks.session", "-i", "luks.policy", "-n", "luks.name", "-t", "luks.ticket"];
      await tool("tpm2_policyauthorize", ...approve);
      return await tool("tpm2_nvread", "0x1500040", "-P", "session:luks.session");
    };
    expect(await read()).toBe(passphrase);
    {
      await using tpm = await it.open();
      await extendPcr(tpm, 7, "sha256", createHash("sha256").update("atomix\n").digest());
    }
    await expect(read()).rejects.toThrow();
  });

  test("we read what tpm2-tools provisioned, and nothing after PCR 7 was extended", async () => {
    const { secret, policy } = await provision();
    await writeFile(file("secret.policy"), secret.authPolicy);
    await writeFile(file("passphrase"), passphrase, { mode: 0o600 });
    await tool("tpm2_nvdefine", "0x1500020", "-C", "o", "-s", "4", "-a", "ownerwrite|ownerread|authread");
    await tool("tpm2_nvwrite", "0x1500020", "-C", "o", "-i", "version");
    const attributes = "ownerwrite|ownerread|policyread|policywrite";
    await tool("tpm2_nvdefine", "0x1500040", "-C", "o", "-s", "40", "-a", attributes, "-L", "secret.policy");
    await tool("tpm2_nvwrite", "0x1500040", "-C", "o", "-i", "passphrase");
    await using tpm = await it.open();
    const nv = await readNvPublicArea(tpm, secret.index);
    if (nv === undefined) throw new Error("no index");
    await withPolicy(tpm, policy, async (access) => {
      expect(text(await readNv(tpm, nv, { by: "index", access }))).toBe(passphrase);
    });
    await extendPcr(tpm, 7, "sha256", createHash("sha256").update("atomix\n").digest());
    await withPolicy(tpm, policy, async (access) => {
      expect(await failure(readNv(tpm, nv, { by: "index", access }))).toMatchObject({ code: "tpm-refused" });
    });
  });
});

describe("quotes", () => {
  const selection = selectPcrs("sha256", [0, 7, 11]);
  const nonce = randomBytes(20);

  test("of ours satisfy tpm2_checkquote, and not for another nonce", async () => {
    {
      await using tpm = await it.open();
      await using key = await createPrimary(tpm, "owner", emptyAuthorization, attestationKeyTemplate);
      if (key.public.type !== "ecc") throw new Error("not ECC");
      const { statement, signature } = await quote(tpm, key, emptyAuthorization, selection, nonce);
      await writeFile(file("quote.msg"), statement);
      await writeFile(file("quote.sig"), signature);
      await writeFile(file("ak.pem"), keyObjectOf(key.public).export({ type: "spki", format: "pem" }));
    }
    const check = async (q: Uint8Array): Promise<unknown> =>
      await run("tpm2_checkquote", ["-u", "ak.pem", "-m", "quote.msg", "-s", "quote.sig", "-q", hex(q)], {
        cwd: it.directory,
      });
    await check(nonce);
    await expect(check(randomBytes(20))).rejects.toThrow();
  });

  test("of tpm2_quote satisfy us", async () => {
    await tool("tpm2_createek", "-c", "ek.ctx", "-G", "rsa");
    await flush();
    await tool(
      "tpm2_createak",
      "-C",
      "ek.ctx",
      "-c",
      "ak.ctx",
      "-G",
      "rsa",
      "-s",
      "rsassa",
      "-u",
      "ak.tss",
      "-f",
      "tss",
    );
    await flush();
    const wanted = ["-l", "sha256:0,7,11", "-q", hex(nonce), "-m", "quote.msg", "-s", "quote.sig"];
    await tool("tpm2_quote", "-c", "ak.ctx", ...wanted);
    const key = decodeSizedPublic(await contents("ak.tss"));
    if (key.type !== "rsa") throw new Error("not RSA");
    await flush();
    await using tpm = await it.open();
    const values = await readPcrs(tpm, "sha256", selection.pcrs);
    const made = { statement: await contents("quote.msg"), signature: await contents("quote.sig") };
    expect(verifyQuote(made, keyObjectOf(key), nonce, selection, values).clockSafe).toBe(true);
  });
});

test("PCRs that one extends the other reads", async () => {
  {
    await using tpm = await it.open();
    await extendPcr(tpm, 16, "sha256", new Uint8Array(32).fill(0xab));
  }
  await tool("tpm2_pcrextend", `16:sha256=${"cd".repeat(32)},sha384=${"ef".repeat(48)}`);
  await tool("tpm2_pcrread", "sha256:16", "-o", "pcr16");
  await using tpm = await it.open();
  expect((await readPcrs(tpm, "sha256", [16])).get(16)).toEqual(await contents("pcr16"));
  expect((await readPcrs(tpm, "sha384", [16])).get(16)).toHaveLength(48);
});

test("response codes have the names that tpm2_rc_decode gives them", async () => {
  for (const code of [
    0x101, 0x12f, 0x148, 0x14a, 0x921, 0x922, 0x98e, 0x99d, 0x1c4, 0x18b, 0x2a3, 0x9a2, 0x84,
  ]) {
    const said = (await run("tpm2_rc_decode", [`0x${code.toString(16)}`])).stdout.trim();
    // tpm2_rc_decode answers in words: `tpm:session(1):a policy check failed`.
    const { name, subject } = decodeResponseCode(code);
    expect(name, said).toBeDefined();
    if (subject !== undefined) expect(said).toContain(`${subject.kind}(${subject.number})`);
  }
});

test("what openssl signed is an approval", async () => {
  await run("openssl", ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file("key.pem")]);
  await run("openssl", ["pkey", "-in", file("key.pem"), "-pubout", "-out", file("key.pub")]);
  const policy: Policy = [{ kind: "command", command: "TPM2_Unseal" }];
  await writeFile(file("message"), approvalMessage(digestOfPolicy(policy), new Uint8Array(0)));
  const [from, to] = [file("message"), file("signature")];
  await run("openssl", ["dgst", "-sha256", "-sign", file("key.pem"), "-out", to, from]);
  const key = publicFromPem(text(await contents("key.pub")), "key.pub");
  const approval = { policy, signature: signatureOfBytes("ecc", await contents("signature")) };
  await using tpm = await it.open();
  const approved: Policy = [{ kind: "authorize", key, approval }];
  const sealed = await seal(tpm, bytes("secret"), { policy: approved });
  expect(text(await unseal(tpm, sealed, { policy: approved }))).toBe("secret");
});
