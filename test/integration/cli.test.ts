// The commands as their users call them: what they print, and the exit code that a script sees. The device's commands
// run in a mount namespace in which /etc, /var/lib and /run are not the host's.
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { writeElf } from "../unit/elf/elf-writer.ts";
import { makeRoot } from "./publish-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

const main = join(import.meta.dirname, "../../src/main.ts");

interface Answer {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

let work: string;
/** A published manifest: `oci:DIR`, without its tag `1.0.0`. */
let layout: string;
let ca: string;

const accept = [0, 1, 2, 3, 4, 5, 6, 7, 8];

async function mos(...args: string[]): Promise<Answer> {
  const env = { MOS_KEYSETS: join(work, "keys") };
  const { exitCode, stdout, stderr } = await run(process.execPath, [main, ...args], {
    accept,
    env,
    cwd: work,
  });
  return { exit: exitCode, stdout, stderr };
}

/** The error of a command that was asked for JSON, with its exit code. */
function errorIn({ exit, stdout }: Answer) {
  const { error } = JSON.parse(stdout);
  expect(Object.keys(error)).toEqual(expect.arrayContaining(["code", "message", "hint"]));
  return { exit, code: error.code };
}

const manifest = (target: string) =>
  `version: 1\nproduct: p\ntargets:\n  - service_name: web\n    version: "1"\n    nsgroup: web\n${target}`;
const runs = "    image: {entrypoint: [/bin/service]}\n";

async function publish(...more: string[]): Promise<Answer> {
  return await mos("mosb", "manifest", "publish", "--project", "demo:web", ...more);
}

beforeAll(async () => {
  work = await makeWorkDirectory();
  await makeRoot(join(work, "root"), "one");
  await writeFile(join(work, "manifest.yaml"), manifest(`    source: rootfs:root\n${runs}`));
  layout = `oci:${join(work, "layout")}`;
  ca = join(work, "keys/demo/manifest-ca/cert.pem");
  for (const args of [
    ["keyset", "add", "demo", "--key-type", "p256"],
    ["project", "add", "demo", "web"],
  ]) {
    expect((await mos("trust", ...args)).exit).toBe(0);
  }
  expect((await publish("--dest", layout, "--name", "web:1.0.0", "manifest.yaml")).exit).toBe(0);
});
afterAll(() => rm(work, { recursive: true, force: true }));

describe("mosb manifest publish", () => {
  test("says what it made and what to do next", async () => {
    const answer = await publish("--dest", layout, "--name", "web:1.0.0", "manifest.yaml");
    expect(answer.exit).toBe(0);
    expect(answer.stdout).toContain("Nothing to do: published already.");
    expect(answer.stdout).toContain(`mosctl update ${layout}:1.0.0`);
  });

  test("makes what umoci lists and skopeo copies", async () => {
    const copy = `oci:${join(await temporaryDirectory(), "copy")}:1.0.0`;
    expect((await run("umoci", ["list", "--layout", join(work, "layout")])).stdout).toMatch(/^1\.0\.0$/m);
    const { stdout } = await run("skopeo", ["inspect", "--raw", `${layout}:1.0.0`]);
    expect(JSON.parse(stdout).artifactType).toBe("application/vnd.machine.install");
    await run("skopeo", ["copy", "--quiet", `${layout}:1.0.0`, copy]);
    expect((await run("skopeo", ["inspect", "--raw", copy])).stdout).toBe(stdout);
  });

  test.each<[string, string[], number, string]>([
    ["nowhere", [], 2, "usage"],
    ["a destination of no kind", ["--dest", "somewhere"], 2, "usage"],
    ["a registry without a name", ["--repo", "127.0.0.1:1"], 2, "usage"],
    ["a name without a tag", ["--dest", "oci:out", "--name", "web"], 2, "usage"],
    ["a tag that no reference can have", ["--dest", "oci:out", "--name", "web:a b"], 3, "reference-invalid"],
    ["a time that is none", ["--dest", "oci:out", "--created", "yesterday"], 2, "usage"],
    ["a format of layers that is none", ["--dest", "oci:out", "--layer-format", "zip"], 2, "usage"],
    ["a project that is not there", ["--dest", "oci:out", "--project", "demo:none"], 3, "project-unknown"],
    ["a keyset that is not there", ["--dest", "oci:out", "--project", "none:web"], 3, "keyset-unknown"],
  ])("refuses %s", async (_, args, exit, code) => {
    const project = args.includes("--project") ? [] : ["--project", "demo:web"];
    const answer = await mos("mosb", "manifest", "publish", "--json", ...project, ...args, "manifest.yaml");
    expect(errorIn(answer)).toEqual({ exit, code });
    await expect(readFile(join(work, "out/oci-layout"))).rejects.toThrow("ENOENT");
  });

  test("tells a person too, and keeps standard output free", async () => {
    const { exit, stdout, stderr } = await publish("--dest", "oci:out", "nothing-here.yaml");
    expect([exit, stdout]).toEqual([3, ""]);
    expect(stderr).toMatch(/error: cannot read .*nothing-here\.yaml/);
    expect(stderr).toContain("code: file-unreadable");
  });
});

describe("mosb manifest check", () => {
  test("finds that a program's loader is not in its root, as publishing does", async () => {
    const directory = await temporaryDirectory();
    await makeRoot(join(directory, "root"), "one");
    const elf = writeElf({ interpreter: "/lib64/ld-linux-x86-64.so.2", needed: ["libc.so.6"] });
    await writeFile(join(directory, "root/bin/service"), elf);
    const file = join(directory, "manifest.yaml");
    await writeFile(file, manifest(`    source: rootfs:root\n${runs}`));
    const problem = "/bin/service needs the loader /lib64/ld-linux-x86-64.so.2, which is not there";
    const checked = await mos("mosb", "manifest", "check", "--json", file);
    expect(errorIn(checked)).toEqual({ exit: 3, code: "program-unresolved" });
    expect(JSON.parse(checked.stdout).error.problems).toEqual([problem]);
    const published = await publish("--json", "--dest", `oci:${join(directory, "out")}`, file);
    expect(errorIn(published)).toEqual({ exit: 3, code: "program-unresolved" });
    await run("tar", ["-cf", join(directory, "root.tar"), "-C", join(directory, "root"), "."]);
    await writeFile(file, manifest(`    source: rootfs:root.tar\n${runs}`));
    expect(errorIn(await mos("mosb", "manifest", "check", "--json", file)).code).toBe("program-unresolved");
  });

  test("tells every problem with its line and column", async () => {
    const file = join(await temporaryDirectory(), "bad.yaml");
    const ports = "    network: {type: simple, ports: [{host: 0, container: 65536}]}\n";
    await writeFile(file, manifest(`    source: rootfs:root\n${ports}    colour: red\n`));
    const answer = await mos("mosb", "manifest", "check", "--json", file);
    expect(errorIn(answer)).toEqual({ exit: 3, code: "manifest-invalid" });
    expect(JSON.parse(answer.stdout).error.problems).toEqual([
      expect.stringMatching(/8:\d+.*ports\.0\.host.*1 to 65535/),
      expect.stringMatching(/8:\d+.*ports\.0\.container.*1 to 65535/),
      expect.stringMatching(/9:\d+.*colour.*unknown key/),
    ]);
    expect((await mos("mosb", "manifest", "check", "manifest.yaml")).exit).toBe(0);
  });
});

describe("mosctl verify", () => {
  test("accepts a set by its CA, as far as it is asked to", async () => {
    for (const [flags, level] of [
      [[], "images"],
      [["--offline-images"], "signature"],
      [["--content"], "content"],
    ] as const) {
      const { exit, stdout } = await mos(
        "mosctl",
        "verify",
        `${layout}:1.0.0`,
        "--ca",
        ca,
        "--json",
        ...flags,
      );
      expect([exit, JSON.parse(stdout)]).toMatchObject([0, { level, manifest: { product: "p" } }]);
    }
  });

  test("takes relative paths", async () => {
    const args = ["verify", "oci:layout:1.0.0", "--ca", "keys/demo/manifest-ca/cert.pem"];
    expect((await mos("mosctl", ...args)).stdout).toContain("Verified.");
  });

  test("notices a damaged layer when it is asked for the content, and then only", async () => {
    const copy = join(await temporaryDirectory(), "layout");
    await cp(join(work, "layout"), copy, { recursive: true });
    const { stdout } = await mos("mosctl", "verify", `${layout}:1.0.0`, "--ca", ca, "--json");
    const blob = (digest: string) => join(copy, "blobs/sha256", digest.slice("sha256:".length));
    const image = JSON.parse(await readFile(blob(JSON.parse(stdout).manifest.targets[0].digest), "utf8"));
    const layer = await readFile(blob(image.layers[0].digest));
    layer.writeUInt8(layer.readUInt8(100) ^ 1, 100);
    await writeFile(blob(image.layers[0].digest), layer);
    const verify = (...more: string[]) =>
      mos("mosctl", "verify", `oci:${copy}:1.0.0`, "--ca", ca, "--json", ...more);
    expect((await verify()).exit).toBe(0);
    expect(errorIn(await verify("--content"))).toEqual({ exit: 4, code: "digest-mismatch" });
  });

  test.each<[string, string[], number, string]>([
    ["a tag that is not there", ["oci:layout:2.0.0"], 5, "not-found"],
    ["a layout that is not there", ["oci:nowhere:1.0.0"], 5, "not-found"],
    ["a registry that is not there", ["127.0.0.1:1/web:1.0.0"], 5, "registry-unreachable"],
    ["a reference that is none", ["web:1.0.0"], 3, "reference-invalid"],
    [
      "images that are not at hand, byte by byte",
      ["oci:layout:1.0.0", "--content", "--offline-images"],
      2,
      "usage",
    ],
    ["nothing", [], 2, "usage"],
  ])("refuses %s", async (_, args, exit, code) => {
    expect(errorIn(await mos("mosctl", "verify", "--json", "--ca", ca, ...args))).toEqual({ exit, code });
  });

  test("refuses a CA file that is none", async () => {
    for (const [file, code] of [
      ["manifest.yaml", "anchor-invalid"],
      ["nothing", "anchor-missing"],
      ["keys/demo/manifest/web/cert.pem", "anchor-invalid"],
    ] as const) {
      const answer = await mos("mosctl", "verify", `${layout}:1.0.0`, "--json", "--ca", file);
      expect(errorIn(answer)).toEqual({ exit: 4, code });
    }
  });
});

describe.skipIf(process.geteuid?.() !== 0)("on a device where no agent runs", () => {
  const setUp = `
set -e
cp -a /etc "$OUT/etc"
mount --bind "$OUT/etc" /etc
rm -rf /etc/mos
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /run
# A service manager with which everything succeeds: here is no systemd, the machine lane has one.
mkdir /run/bin
cat >/run/bin/systemctl <<'END'
#!/bin/sh
[ "$1" = show ] || exit 0
while [ "$1" != -- ]; do shift; done
shift
for unit; do printf 'Id=%s\nLoadState=loaded\nActiveState=active\nNRestarts=0\n\n' "$unit"; done
END
chmod 755 /run/bin/systemctl
PATH=/run/bin:$PATH
set +e
i=0
mosctl() { "$NODE" "$MAIN" mosctl "$@" >"$OUT/$i.out" 2>"$OUT/$i.err"; echo $? >"$OUT/$i.exit"; i=$((i + 1)); }
`;

  /** Runs a script in which `mosctl` is ours; returns what each call of it answered. */
  async function onDevice(script: string): Promise<Answer[]> {
    const out = join(await temporaryDirectory(), "out");
    await mkdir(out);
    const env = { OUT: out, NODE: process.execPath, MAIN: main, CA: ca, LAYOUT: layout };
    const args = ["--mount", "--propagation", "private", "bash", "-c", setUp + script];
    await run("unshare", args, { env, cwd: work });
    const answers: Answer[] = [];
    for (let i = 0; ; i++) {
      const part = (suffix: string) => readFile(join(out, `${i}.${suffix}`), "utf8");
      const exit = await part("exit").catch(() => undefined);
      if (exit === undefined) return answers;
      answers.push({ exit: Number(exit), stdout: await part("out"), stderr: await part("err") });
    }
  }

  test("nothing was applied, and nothing is without an anchor", async () => {
    const [status, statusJson, update] = await onDevice(`
mosctl status
mosctl status --json
mosctl update "$LAYOUT:1.0.0" --json
test ! -e /var/lib/mos/generations
`);
    expect(status).toMatchObject({ exit: 0, stdout: expect.stringContaining("Next: mosctl update REF") });
    expect(JSON.parse(statusJson?.stdout ?? "")).toMatchObject({ version: 1, health: "none", services: [] });
    expect(errorIn(update as Answer)).toEqual({ exit: 4, code: "anchor-missing" });
  });

  test("an update is made, and refused ones leave it as it is", async () => {
    const answers = await onDevice(`
mkdir /etc/mos
cp "$CA" /etc/mos/manifestCA.pem
mosctl update oci:layout:1.0.0 --json
before="$(find /var/lib/mos -type f -o -type l | sort | xargs ls -l --time-style=full-iso)"
mosctl update oci:layout:none --json
mosctl update 127.0.0.1:1/web:1.0.0 --json
mosctl update 'oci:layout' --json
flock --no-fork /run/mos/lock sleep 60 & holder=$!
while flock --nonblock /run/mos/lock true; do sleep 0.05; done
mosctl update oci:layout:1.0.0 --json
kill $holder
[ "$before" = "$(find /var/lib/mos -type f -o -type l | sort | xargs ls -l --time-style=full-iso)" ]
`);
    const [first, ...others] = answers;
    expect(first?.exit).toBe(0);
    expect(JSON.parse(first?.stdout ?? "")).toMatchObject({ outcome: "updated", generation: 1, unwell: [] });
    expect(others.map(errorIn)).toEqual([
      { exit: 5, code: "not-found" },
      { exit: 5, code: "registry-unreachable" },
      { exit: 3, code: "reference-invalid" },
      { exit: 7, code: "busy" },
    ]);
  });

  test("a generation that was altered on the disk is refused, with the exit code of a refusal", async () => {
    const [, status, again] = await onDevice(`
mkdir /etc/mos
cp "$CA" /etc/mos/manifestCA.pem
mosctl update "$LAYOUT:1.0.0" --json
sed -i 's/"product":"p"/"product":"q"/' /var/lib/mos/generations/1/install.json
mosctl status --json
mosctl update "$LAYOUT:1.0.0" --json
test "$(readlink /var/lib/mos/current)" = generations/2
`);
    expect(status?.exit).toBe(4);
    expect(JSON.parse(status?.stdout ?? "")).toMatchObject({
      health: "refused",
      error: { code: "signature-invalid" },
    });
    expect(again?.exit).toBe(0);
  });
});
