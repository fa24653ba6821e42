// TPM operations on swtpm: ours in a process that runs already, next to the programs of tpm2-tools for the same, which
// is how shell scripts use a TPM. Both open the TPM anew each time; what the tools leave in it is cleaned up unmeasured.
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getRandom } from "../src/tpm/capability.ts";
import { nvAttributes as attribute } from "../src/tpm/constants.ts";
import { createPrimary, evictControl, readPersistent } from "../src/tpm/keys.ts";
import {
  counterAttributes,
  defineNv,
  incrementNv,
  type NvAccess,
  readNv,
  readNvCounter,
  writeNv,
} from "../src/tpm/nv.ts";
import { type NvPublic, nvIndex } from "../src/tpm/nv-public.ts";
import { extendPcr, readPcrs } from "../src/tpm/pcr.ts";
import { selectPcrs } from "../src/tpm/pcr-selection.ts";
import { digestOfPolicy, type Policy, pcrStep } from "../src/tpm/policy.ts";
import { approvalMessage } from "../src/tpm/policy-digest.ts";
import { publicFromPem } from "../src/tpm/public-key.ts";
import { quote } from "../src/tpm/quote.ts";
import { seal, unseal } from "../src/tpm/seal.ts";
import { emptyAuthorization } from "../src/tpm/session.ts";
import { signatureOfBytes } from "../src/tpm/signature.ts";
import { openStorageKey, startSession } from "../src/tpm/start-session.ts";
import { attestationKeyTemplate, storageKeyHandle, storageKeyTemplate } from "../src/tpm/templates.ts";
import { Tpm } from "../src/tpm/tpm.ts";
import { type Swtpm, startSwtpm } from "../test/integration/swtpm-fixture.ts";
import { type Figure, figure, timeInTurn } from "./measure.ts";
import { ms } from "./subject.ts";

const rounds = 15;
/** Where the attestation key stays: any handle of the owner's (0x81000000 to 0x817fffff) will do. */
const quotingKeyHandle = 0x81010010;
const byOwner: NvAccess = { by: "owner", access: { kind: "empty" } };
const none = new Uint8Array(0);

function ordinary(index: number, size: number, more: Partial<NvPublic> = {}): NvPublic {
  const attributes = attribute.ownerWrite | attribute.ownerRead | attribute.authRead;
  return { index: nvIndex(index), nameHash: "sha256", attributes, authPolicy: none, size, ...more };
}

interface Staged {
  readonly small: NvPublic;
  readonly counter: NvPublic;
  /** A secret behind PolicyAuthorize, as provisioned devices have it. */
  readonly secret: NvPublic;
  readonly version: NvPublic;
  readonly approve: (policy: Policy) => Policy;
}

/** Keys, indices and policies that the measured operations work on. */
async function stage(swtpm: Swtpm): Promise<Staged> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = publicFromPem(publicKey.export({ type: "spki", format: "pem" }).toString(), "bench");
  const approve = (policy: Policy): Policy => {
    const signed = sign("sha256", approvalMessage(digestOfPolicy(policy), none), privateKey);
    return [{ kind: "authorize", key, approval: { policy, signature: signatureOfBytes("rsa", signed) } }];
  };
  await using tpm = await Tpm.open(swtpm.address);
  for (const [template, handle] of [
    [storageKeyTemplate, storageKeyHandle],
    [attestationKeyTemplate, quotingKeyHandle],
  ] as const) {
    await using made = await createPrimary(tpm, "owner", emptyAuthorization, template);
    await evictControl(tpm, emptyAuthorization, made, handle);
  }
  const make = async (nv: NvPublic): Promise<NvPublic> => {
    await defineNv(tpm, "owner", emptyAuthorization, nv);
    return await writeNv(tpm, nv, byOwner, randomBytes(nv.size));
  };
  const counter = ordinary(0x01500030, 8, { attributes: counterAttributes });
  await defineNv(tpm, "owner", emptyAuthorization, counter);
  const policyRead = attribute.ownerWrite | attribute.policyRead;
  const authPolicy = digestOfPolicy([{ kind: "authorize", key }]);
  return {
    approve,
    small: await make(ordinary(0x01500021, 32)),
    version: await make(ordinary(0x01500020, 4)),
    secret: await make(ordinary(0x01500040, 40, { attributes: policyRead, authPolicy })),
    counter: await incrementNv(tpm, counter, byOwner),
  };
}

/** What one boot asks of the TPM: a secret that firmware and version index release, the epoch, and the end of PCR 7. */
async function boot(
  tpm: Tpm,
  { secret, version, counter, approve }: Staged,
  operand: Uint8Array,
): Promise<void> {
  const values = await readPcrs(tpm, "sha256", [7]);
  const policy = approve([
    pcrStep("sha256", values),
    { kind: "nv", nv: version, operand, offset: 0, operation: "equal" },
  ]);
  const key = await openStorageKey(tpm);
  await using session = await startSession(tpm, "policy", key);
  await readNv(tpm, secret, { by: "index", access: { kind: "policy", session, policy } }, { last: true });
  await readNvCounter(tpm, counter, byOwner);
  await extendPcr(tpm, 7, "sha256", randomBytes(32));
}

interface Measured {
  readonly wall: Figure;
  readonly commands: number;
}

async function measure(swtpm: Swtpm, work: (tpm: Tpm) => Promise<unknown>): Promise<Measured> {
  const walls: number[] = [];
  let commands = 0;
  for (let round = 0; round <= rounds; round++) {
    const began = performance.now();
    const tpm = await Tpm.open(swtpm.address);
    await work(tpm);
    await tpm.close();
    if (round > 0) walls.push(performance.now() - began);
    commands = tpm.commandCount;
  }
  return { wall: figure(walls), commands };
}

/** @param work a directory of the benchmark's own */
export async function tpmOperations(work: string) {
  const swtpm = await startSwtpm(work);
  try {
    const staged = await stage(swtpm);
    const secret = randomBytes(32);
    const path = (name: string): string => join(work, name);
    await writeFile(path("tpm-secret"), secret, { mode: 0o600 });
    const start = await Tpm.open(swtpm.address);
    const policy: Policy = [pcrStep("sha256", await readPcrs(start, "sha256", [7]))];
    const sealed = await seal(start, secret, { policy });
    const operand = await readNv(start, staged.version, byOwner);
    await start.close();
    await writeFile(path("tpm-policy"), digestOfPolicy(policy));
    await writeFile(path("tpm-public"), sealed.public);
    await writeFile(path("tpm-private"), sealed.private);
    const nonce = randomBytes(20);

    const tcti = ["-T", swtpm.tcti];
    const parent = `0x${storageKeyHandle.toString(16)}`;
    const operations: Record<string, { ours(tpm: Tpm): Promise<unknown>; tools?: readonly string[] }> = {
      "32 random bytes": {
        ours: async (tpm) => await getRandom(tpm, 32),
        tools: ["tpm2_getrandom", "--hex", "32"],
      },
      "read PCR 7": {
        ours: async (tpm) => await readPcrs(tpm, "sha256", [7]),
        tools: ["tpm2_pcrread", "sha256:7"],
      },
      "read 32 bytes of NV": {
        ours: async (tpm) => await readNv(tpm, staged.small, byOwner),
        tools: ["tpm2_nvread", "0x1500021", "-C", "o", "-s", "32", "-o", path("tpm-out")],
      },
      "seal 32 bytes": {
        ours: async (tpm) => await seal(tpm, secret, { policy }),
        tools: [
          ...["tpm2_create", "-C", parent, "-L", path("tpm-policy"), "-i", path("tpm-secret")],
          ...["-u", path("tpm-out.pub"), "-r", path("tpm-out.priv")],
        ],
      },
      "unseal under PolicyPCR": {
        ours: async (tpm) => {
          const opened = await unseal(tpm, sealed, { policy });
          if (Buffer.compare(opened, secret) !== 0) throw new Error("unsealed something else");
        },
        tools: [
          ...[
            "sh",
            "-ec",
            'tpm2_load -T "$0" -C "$1" -u "$2" -r "$3" -c "$4"; tpm2_unseal -T "$0" -c "$4" -p pcr:sha256:7',
          ],
          ...[swtpm.tcti, parent, path("tpm-public"), path("tpm-private"), path("tpm-context")],
        ],
      },
      "quote of 8 PCRs": {
        ours: async (tpm) => {
          const key = await readPersistent(tpm, quotingKeyHandle);
          await quote(tpm, key, emptyAuthorization, selectPcrs("sha256", [0, 1, 2, 3, 4, 5, 6, 7]), nonce);
        },
        tools: [
          ...["tpm2_quote", "-c", `0x${quotingKeyHandle.toString(16)}`, "-l", "sha256:0,1,2,3,4,5,6,7"],
          ...["-q", nonce.toString("hex"), "-m", path("tpm-out.msg"), "-s", path("tpm-out.sig")],
        ],
      },
      // Last: it extends PCR 7.
      "all of one boot": { ours: async (tpm) => await boot(tpm, staged, operand) },
    };
    const clean = async (): Promise<void> => {
      for (const what of ["-t", "-l", "-s"]) await swtpm.tool("tpm2_flushcontext", what);
    };
    const rows: string[][] = [];
    for (const [name, { ours, tools }] of Object.entries(operations)) {
      const mine = await measure(swtpm, ours);
      const row = [name, ms(mine.wall), `${mine.commands}`];
      if (tools !== undefined) {
        const argv = tools[0] === "sh" ? tools : [...tools, ...tcti];
        const { theirs } = await timeInTurn({ theirs: { argv, prepare: clean } }, rounds);
        row.push(ms(theirs.wall), (mine.wall.median / theirs.wall.median).toFixed(2));
      }
      rows.push(row);
    }
    return {
      title: "The TPM (swtpm), ours within a process and tpm2-tools as processes",
      headings: ["operation", "mos ms", "TPM commands", "tpm2-tools ms", "mos/other"],
      rows,
    };
  } finally {
    await swtpm.stop();
  }
}
