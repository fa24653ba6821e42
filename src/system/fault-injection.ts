// What happens at a fault point (fault.ts) that MOS_FAULT names. Each fault comes once: before it does, a stamp of its
// name is made durable in MOS_FAULT_STAMPS, so that the same fault does not meet what repairs its damage. A test that
// removes the stamp gets it again.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { createFile, makeDirectory } from "./atomic-file.ts";
import { type FaultTag, faultTags } from "./fault.ts";

const defaultStamps = "/var/lib/mos-faults";

/** Numbers and texts of errno-base.h, as node gives them. */
const systemErrors = {
  eio: { errno: -5, code: "EIO", text: "i/o error" },
  emfile: { errno: -24, code: "EMFILE", text: "too many open files" },
  enospc: { errno: -28, code: "ENOSPC", text: "no space left on device" },
  erofs: { errno: -30, code: "EROFS", text: "read-only file system" },
} as const;
type SystemError = keyof typeof systemErrors;

/** An error as the system gives it. */
export function systemError(kind: SystemError, what: string): Error {
  const { errno, code, text } = systemErrors[kind];
  return Object.assign(new Error(`${code}: ${text}, ${what}`), { errno, code, syscall: what });
}

function isSystemError(kind: string): kind is SystemError {
  return Object.hasOwn(systemErrors, kind);
}

/** Written to /proc/sysrq-trigger: Documentation/admin-guide/sysrq.rst. Neither writes anything back to the disk. */
const sysrqKeys = { reboot: "b", panic: "c" } as const;

const kinds = ["kill", "hang", "freeze", "reboot", "panic", "eio", "emfile", "enospc", "erofs"] as const;
type FaultKind = (typeof kinds)[number];

interface Fault {
  readonly tag: FaultTag;
  readonly kind: FaultKind;
}

/** Parses MOS_FAULT. @throws MosError `usage` naming what it does not know */
export function parseFaults(text: string): Fault[] {
  return text.split(",").map((one) => {
    const at = one.lastIndexOf(":");
    const tag = faultTags.find((known) => known === one.slice(0, at));
    const kind = kinds.find((known) => known === one.slice(at + 1));
    if (at > 0 && tag !== undefined && kind !== undefined) return { tag, kind };
    const [wrong, known] = tag === undefined ? ["point", faultTags] : ["kind", kinds];
    throw new MosError(
      "usage",
      `cannot inject ${JSON.stringify(one)}: there is no fault ${wrong} like that`,
      {
        about: "MOS_FAULT",
        hint: `MOS_FAULT=TAG:KIND[,TAG:KIND…]. Known: ${known.join(" ")}.`,
      },
    );
  });
}

/** Makes the stamp. @returns whether it was not there */
async function isFirst({ tag, kind }: Fault): Promise<boolean> {
  const stamps = process.env["MOS_FAULT_STAMPS"] ?? defaultStamps;
  await makeDirectory(stamps);
  try {
    await createFile(join(stamps, `${tag}:${kind}`), "", 0o600);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Never ends, while the rest of the process goes on. */
async function hang(): Promise<never> {
  setInterval(() => undefined, 2 ** 30);
  return await new Promise<never>(() => undefined);
}

/** Stops the whole process, as an endless loop would, without its heat. */
function freeze(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** Lets the faults of a point come that did not come before. @param wanted MOS_FAULT @throws the system's errors */
export async function inject(point: FaultTag, wanted: string): Promise<void> {
  for (const fault of parseFaults(wanted)) {
    if (fault.tag === point && (await isFirst(fault))) await come(fault);
  }
}

async function come({ tag, kind }: Fault): Promise<void> {
  process.stderr.write(`fault injected: ${tag}:${kind}\n`);
  if (isSystemError(kind)) throw systemError(kind, `fault ${tag}`);
  switch (kind) {
    case "hang":
      return await hang();
    case "freeze":
      return freeze();
    case "kill":
      process.kill(process.pid, "SIGKILL");
      return await hang();
    case "reboot":
    case "panic":
      writeFileSync("/proc/sysrq-trigger", sysrqKeys[kind]);
      return await hang();
  }
}
