import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkProgram, type Start } from "../../../src/elf/program.ts";
import { RootTree } from "../../../src/elf/root-tree.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { writeElf, writeLoader, writeLoaderCache } from "./elf-writer.ts";

let work: string;
let root: string;
beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), "mos-elf-"));
  root = join(work, "root");
});
afterEach(() => rm(work, { recursive: true, force: true }));

async function put(path: string, content: string | Uint8Array, mode = 0o755): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content, { mode });
}

async function link(path: string, target: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await symlink(target, join(root, path));
}

const loader = "/lib64/ld-linux-x86-64.so.2";
const muslLoader = "/lib/ld-musl-x86_64.so.1";

/** A root as Fedora has it: everything in /usr/lib64. */
async function fedora(): Promise<void> {
  await put(`usr${loader}`, writeLoader(["/lib64", "/usr/lib64"]));
  await link("lib64", "usr/lib64");
  await link("bin", "usr/bin");
  await put("usr/lib64/libc.so.6", writeElf({ soname: "libc.so.6", defines: ["GLIBC_2.2.5", "GLIBC_2.34"] }));
}

const start = (program: string, more: Partial<Start> = {}): Start => ({
  program,
  environment: [],
  workingDirectory: "",
  ...more,
});

const check = (one: Start | string, layers = [root]): readonly string[] =>
  checkProgram(new RootTree(layers), typeof one === "string" ? start(one) : one, "the root");

function refusal(one: Start | string): MosError {
  try {
    check(one);
  } catch (error) {
    if (error instanceof MosError) return error;
    throw error;
  }
  throw new Error("not refused");
}

const program = (more: Parameters<typeof writeElf>[0] = {}): Buffer =>
  writeElf({ interpreter: loader, needed: ["libc.so.6"], ...more });

describe("a program whose libraries are all in its root", () => {
  test("is accepted with libraries where the root's own loader looks for them", async () => {
    await fedora();
    await put("usr/bin/service", program());
    expect(check("/bin/service")).toEqual(["/usr/bin/service"]);
  });

  test("is found in PATH, which the image may set", async () => {
    await fedora();
    await put("opt/app/service", program());
    expect(refusal("service").message).toContain("there is no such program");
    expect(check(start("service", { environment: ["PATH=/usr/bin:/opt/app"] }))).toEqual([
      "/opt/app/service",
    ]);
  });

  test("is found from the working directory when its path is relative", async () => {
    await fedora();
    await put("srv/service", program());
    expect(check(start("./service", { workingDirectory: "/srv" }))).toEqual(["/srv/service"]);
  });

  test("is accepted with a library of a run path, with $ORIGIN and $LIB in it", async () => {
    await fedora();
    await put(
      "opt/app/bin/service",
      program({ needed: ["liba.so", "libb.so"], runpath: "$ORIGIN/../private:/opt/$LIB" }),
    );
    await put("opt/app/private/liba.so", writeElf({ needed: ["libc.so.6"] }));
    await put("opt/lib64/libb.so", writeElf({ needed: ["libc.so.6"] }));
    expect(check("/opt/app/bin/service")).toEqual(["/opt/app/bin/service"]);
  });

  test("hands DT_RPATH down to its libraries, and DT_RUNPATH not", async () => {
    await fedora();
    await put("opt/private/liba.so", writeElf({ needed: ["libb.so"] }));
    await put("opt/private/libb.so", writeElf({ needed: ["libc.so.6"] }));
    await put("usr/bin/old", program({ needed: ["liba.so"], rpath: "/opt/private" }));
    await put("usr/bin/new", program({ needed: ["liba.so"], runpath: "/opt/private" }));
    expect(check("/bin/old")).toEqual(["/usr/bin/old"]);
    expect(refusal("/bin/new").problems).toEqual([
      expect.stringMatching(/^\/opt\/private\/liba\.so needs libb\.so/),
    ]);
  });

  test("is accepted with libraries of the loader's cache, of LD_LIBRARY_PATH, and that it loaded by soname", async () => {
    await fedora();
    await put("opt/one/liba.so", writeElf({ needed: ["libc.so.6"] }));
    await put("opt/two/libb-1.0.so", writeElf({ soname: "libc-alias.so", needed: ["libc.so.6"] }));
    await put("etc/ld.so.cache", writeLoaderCache([["liba.so", "/opt/one/liba.so"]]));
    await put("usr/bin/service", program({ needed: ["liba.so", "libb-1.0.so", "libc-alias.so"] }));
    expect(check(start("/bin/service", { environment: ["LD_LIBRARY_PATH=/opt/two"] }))).toEqual([
      "/usr/bin/service",
    ]);
  });

  test("is accepted under musl, which has its directories in a file and the C library in its loader", async () => {
    await put("lib/ld-musl-x86_64.so.1", writeElf({ soname: "libc.musl-x86_64.so.1" }));
    await put("etc/ld-musl-x86_64.path", "/lib:/usr/lib/musl\n");
    await put("usr/lib/musl/liba.so", writeElf({ needed: ["libc.musl-x86_64.so.1"] }));
    await put("bin/service", writeElf({ interpreter: muslLoader, needed: ["libc.so", "liba.so"] }));
    expect(check("service")).toEqual(["/bin/service"]);
  });

  test("is accepted when it is static, and when only the machine can tell what it is", async () => {
    await put("service", writeElf({}));
    await put("module.wasm", "\0asm");
    expect(check("/service")).toEqual(["/service"]);
    expect(check("/module.wasm")).toEqual(["/module.wasm"]);
  });

  test("is accepted as a script, with its interpreter and the program that env finds", async () => {
    await fedora();
    await put("usr/bin/sh", program());
    await put("usr/bin/env", program());
    await put("usr/bin/python3", program());
    await put("start", "#!/bin/sh -e\nexec service\n");
    await put("run.py", "#!/usr/bin/env -S A=1 python3 -u\n");
    expect(check("/start")).toEqual(["/start", "/usr/bin/sh"]);
    expect(check("/run.py")).toEqual(["/run.py", "/usr/bin/env", "/usr/bin/python3"]);
  });

  test("is put together from layers that lie over one another", async () => {
    await fedora();
    const upper = join(work, "upper");
    await mkdir(join(upper, "usr/bin"), { recursive: true });
    await writeFile(join(upper, "usr/bin/service"), program(), { mode: 0o755 });
    expect(check("/bin/service", [upper, root])).toEqual(["/usr/bin/service"]);
  });
});

describe("a program that would not start", () => {
  test("is refused with the library's name and everywhere it was looked for", async () => {
    await fedora();
    await put("usr/bin/service", program({ needed: ["libc.so.6", "libgone.so.1"], runpath: "/opt/lib" }));
    const error = refusal("/bin/service");
    expect(error.code).toBe("program-unresolved");
    expect(error.message).toBe(
      "cannot run /bin/service in the root: it needs libgone.so.1, which that root does not have",
    );
    expect(error.problems).toEqual([
      "/usr/bin/service needs libgone.so.1, which is in none of /opt/lib, /lib64, /usr/lib64",
    ]);
  });

  test("names all that is missing, of libraries of libraries too", async () => {
    await fedora();
    await put("usr/lib64/liba.so", writeElf({ needed: ["libx.so", "liby.so"] }));
    await put("usr/bin/service", program({ needed: ["liba.so", "libz.so"] }));
    expect(refusal("/bin/service").problems).toEqual([
      expect.stringContaining("/usr/bin/service needs libz.so"),
      expect.stringContaining("/usr/lib64/liba.so needs libx.so"),
      expect.stringContaining("/usr/lib64/liba.so needs liby.so"),
    ]);
  });

  test("is refused in the layout of seed 001: systemd of Fedora started in the root of another distribution", async () => {
    // Fedora is at /fedora, and /sbin/init leads into it; the loader and the libraries that it sees are Wolfi's.
    await put(
      "fedora/usr/lib/systemd/systemd",
      program({
        needed: ["libsystemd-core-250.so", "libsystemd-shared-250.so", "libc.so.6"],
        runpath: "/usr/lib/systemd",
      }),
    );
    for (const name of ["libsystemd-core-250.so", "libsystemd-shared-250.so"])
      await put(`fedora/usr/lib/systemd/${name}`, writeElf({ needed: ["libc.so.6"] }));
    await link("sbin/init", "/fedora/lib/systemd/systemd");
    await link("fedora/lib", "usr/lib");
    await put("lib64/ld-linux-x86-64.so.2", writeLoader(["/lib", "/usr/lib"]));
    await put("usr/lib/libc.so.6", writeElf({ soname: "libc.so.6" }));
    const error = refusal("/sbin/init");
    expect(error.code).toBe("program-unresolved");
    expect(error.message).toContain("it needs libsystemd-core-250.so");
    expect(error.problems).toContain(
      "/fedora/usr/lib/systemd/systemd needs libsystemd-shared-250.so, which is in none of /usr/lib/systemd, /lib, /usr/lib",
    );
  });

  test("is refused when another distribution's /lib was laid over: the library is there, and of another build", async () => {
    await fedora();
    await put("usr/bin/service", program({ needs: { "libc.so.6": ["GLIBC_2.34", "GLIBC_2.99"] } }));
    const error = refusal("/bin/service");
    expect(error.code).toBe("program-unresolved");
    expect(error.problems).toEqual([
      expect.stringContaining("needs GLIBC_2.99 of libc.so.6, which /usr/lib64/libc.so.6 does not have"),
    ]);
  });

  test("is refused when its loader is not there, or for another machine", async () => {
    await put("service", writeElf({ interpreter: muslLoader, needed: ["libc.so"] }));
    expect(refusal("/service").problems).toEqual([
      `/service needs the loader ${muslLoader}, which is not there`,
    ]);
    await put("lib/ld-musl-x86_64.so.1", writeElf({ machine: 183 }));
    expect(refusal("/service").problems).toEqual([expect.stringContaining("for another kind of machine")]);
  });

  test("is refused when the only library of the name is for another machine", async () => {
    await fedora();
    await put("usr/lib64/liba.so", writeElf({ machine: 183 }));
    await put("usr/bin/service", program({ needed: ["liba.so"] }));
    expect(refusal("/bin/service").problems).toEqual([
      expect.stringContaining("(/usr/lib64/liba.so is for another kind of machine)"),
    ]);
  });

  test("is refused when it does not want the loader's own directories and names no others", async () => {
    await fedora();
    await put("usr/bin/service", program({ noDefaultDirectories: true }));
    expect(refusal("/bin/service").code).toBe("program-unresolved");
  });

  test("is told of ldconfig when the root was never given a cache", async () => {
    await fedora();
    await put("etc/ld.so.conf", "/opt/lib\n");
    await put("opt/lib/liba.so", writeElf({}));
    await put("usr/bin/service", program({ needed: ["liba.so"] }));
    expect(refusal("/bin/service").hint).toContain("ldconfig");
  });

  test.each<[string, string, string]>([
    ["interpreter is missing", "#!/bin/bash\n", "its interpreter /bin/bash is not there"],
    ["interpreter is itself", "#!/script\n", "scripts without end"],
    ["interpreter is not named", "#! \n", "names no interpreter"],
  ])("is refused as a script whose %s", async (_, text, why) => {
    await put("script", text);
    expect(refusal("/script").message).toContain(why);
  });

  test("is not taken from the machine that builds, whatever links say", async () => {
    await fedora();
    await cp(process.execPath, join(work, "outside"));
    await link("usr/bin/out", join(work, "outside"));
    await link("usr/bin/up", "../../../../../../../../../../../../../bin/sh");
    await link("usr/bin/loop", "loop");
    for (const name of ["out", "up", "loop"])
      expect(refusal(`/usr/bin/${name}`).message).toContain("there is no such program");
  });

  test("is refused when it cannot be executed, or is a directory", async () => {
    await fedora();
    await put("usr/bin/data", program(), 0o644);
    expect(refusal("/usr/bin/data").message).toContain("there is no such program");
    expect(refusal("/usr/bin").message).toContain("there is no such program");
  });
});

test("programs of this machine are found with the libraries that they run with", () => {
  const here = new RootTree(["/"]);
  for (const name of ["bash", process.execPath, "ldd"])
    expect(checkProgram(here, start(name), "this machine").length).toBeGreaterThan(0);
});
