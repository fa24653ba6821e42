// systemd and quadlet themselves read what mos renders: those of Debian trixie, as on a device.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { RenderedUnit } from "../../src/services/model.ts";
import { renderUnits } from "../../src/services/render.ts";
import { run } from "../../src/system/process.ts";
import { toolsRoot } from "../../tools/roots.ts";
import { checkout } from "../../tools/stamp.ts";
import { goldenCases } from "../golden-cases.ts";
import { temporaryDirectory } from "../support.ts";

let tools = "";
beforeAll(async () => {
  tools = await toolsRoot();
}, 900_000);

// Arguments: tools root, directory with systemd/ and quadlet/. Everything is mounted in a namespace that ends with it.
const script = `
set -e
mount --bind "$2" "$1/machine"
mount -t proc proc "$1/proc"
mount -t sysfs sys "$1/sys"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
exec chroot "$1" sh -ec '
  mkdir -p /machine/quadlet /machine/out
  QUADLET_UNIT_DIRS=/machine/quadlet /usr/libexec/podman/quadlet -no-kmsg-log -v /machine/out
  cp /machine/systemd/* /machine/out
  cd /machine/out
  SYSTEMD_UNIT_PATH=/machine/out: systemd-analyze verify --man=no --recursive-errors=yes ./mos* $(ls -d ./run-mos-* 2>/dev/null || true)
  for unit in ./mos-svc-*.service ./mos-*-network.service; do [ ! -e "$unit" ] || { echo "=== $unit"; cat "$unit"; }; done
'`;

async function readBySystemd(units: readonly RenderedUnit[]): Promise<{ exitCode: number; text: string }> {
  const directory = await temporaryDirectory();
  for (const { kind, name, content } of units) {
    await mkdir(join(directory, kind), { recursive: true });
    await writeFile(join(directory, kind, name), content);
  }
  const args = ["--mount", "--propagation", "slave", "bash", "-c", script, "units", tools, directory];
  const { exitCode, stdout, stderr } = await run("unshare", args, { accept: [0, 1] });
  return { exitCode, text: `${stdout}\n${stderr}` };
}

/** Services that run podman, as sorted lines: what quadlet and mos write in another order or by another name is the same. */
function servicesIn(text: string): Record<string, string[]> {
  const units = text.split("=== ./").slice(1);
  return Object.fromEntries(
    units.map((unit) => {
      const [name = "", ...lines] = unit.split("\n");
      let isOwn = true;
      const settings = lines.filter((line) => {
        if (line.startsWith("[")) isOwn = !line.startsWith("[X-");
        return isOwn && line !== "" && !/^(#|SourcePath=|quadlet-generator)/.test(line);
      });
      return [name, settings.flatMap(sameLine).sort()];
    }),
  );
}

const shortOptions: Readonly<Record<string, string>> = {
  "--volume": "-v",
  "--volumes": "-v",
  "--detach": "-d",
  "--force": "-f",
  "--ignore": "-i",
};

/** A setting as it is, and of a command of podman each option by itself, with its place among those of its name. */
function sameLine(line: string): string[] {
  const [, setting, command = ""] = /^(Exec\w+=-?)(?:\/usr\/bin\/)?podman (.*)$/.exec(line) ?? [];
  // mos waits for a container's health beside podman (services/podman-service.ts).
  if (line.startsWith("ExecStartPost=")) return [];
  if (setting === undefined) return [line];
  let options: string[] = [];
  for (const [word] of command.matchAll(/(?:"(?:[^"\\]|\\.)*"|\S)+/g)) {
    if (word.startsWith("-")) options.push(word.replace(/^(--[a-z-]+)=/, "$1 "));
    else options.push(`${options.pop() ?? ""} ${word}`);
  }
  // mos names the container where quadlet has a file with its id.
  options = options
    .filter((option) => !option.startsWith("--cidfile "))
    .map((option) => option.replace(/^(--ignore|-i) mos-\S+$/, "-i"));
  // Of a variable podman takes the last value.
  const variable = (option: string) => /^(--env "?[^=]*=)/.exec(option)?.[1];
  options = options.filter((option, i) => {
    const name = variable(option);
    return name === undefined || !options.slice(i + 1).some((other) => variable(other) === name);
  });
  const seen = new Map<string, number>();
  return options.map((option) => {
    const [name = "", ...values] = option.trim().split(" ");
    const place = name === "--env" ? 0 : (seen.get(name) ?? 0) + 1;
    seen.set(name, place);
    const value = values.join(" ").replace(/^CAP_\w+$/, (capability) => capability.toLowerCase());
    return `${setting} ${shortOptions[name] ?? name} ${place} ${value.replace(/^healthy$/, "conmon")}`;
  });
}

describe.skipIf(process.getuid?.() !== 0)("systemd and quadlet", () => {
  for (const [name, input] of Object.entries(goldenCases)) {
    it(`accept the units of ${name}`, async () => {
      const { exitCode, text } = await readBySystemd(renderUnits(input()));
      expect(text).not.toMatch(/unknown|invalid|failed|ignoring/i);
      expect(exitCode).toBe(0);
    });

    it(`find the same in the services of ${name} that mos itself makes of containers`, async () => {
      const units = renderUnits({ ...input(), podmanUnits: "by-mos" }).map((unit) => ({
        ...unit,
        // Our programs are not in the root that the tools are taken from.
        content: unit.content
          .replace(/^ExecStartPost=\S+/gm, "ExecStartPost=/bin/true")
          .replace(
            /^ExecStart=\/usr\/lib\/mos\/make-network (\S+) (.*)$/m,
            "ExecStart=podman network create --ignore $2 $1",
          ),
      }));
      const own = await readBySystemd(units);
      expect(own.text).not.toMatch(/unknown|invalid|failed|ignoring/i);
      expect(own.exitCode).toBe(0);
      const quadlets = await readBySystemd(renderUnits(input()));
      const services = servicesIn(own.text);
      expect(Object.keys(services)).toHaveLength(
        units.filter(({ name }) => /^mos-svc-|-network\.service$/.test(name)).length,
      );
      expect(services).toEqual(servicesIn(quadlets.text));
    });
  }

  it("accept the units that the package brings", async () => {
    const directory = join(checkout, "units");
    const units = (await readdir(directory)).map(async (name) => ({
      ...{ kind: "systemd" as const, name, services: [] },
      // The programs themselves are not in the root that the tools are taken from.
      content: (await readFile(join(directory, name), "utf8")).replace(/^(Exec\w+=)\S+/gm, "$1/bin/true"),
    }));
    const { exitCode, text } = await readBySystemd(await Promise.all(units));
    expect(text).not.toMatch(/unknown|invalid|failed|ignoring/i);
    expect(exitCode).toBe(0);
  });

  it("would refuse a unit with a mistake in it", async () => {
    const units = renderUnits(goldenCases["container-without-network"]());
    const broken = units.map((unit) => ({
      ...unit,
      content: unit.content.replace("ExecStart=veritysetup", "ExecStart=no-such-program"),
    }));
    expect((await readBySystemd(broken)).exitCode).toBe(1);
  });

  it("pass hostile text on to podman as it is, in one command line", async () => {
    const { text } = await readBySystemd(renderUnits(goldenCases["image-configuration-with-hostile-text"]()));
    const lines = text.split("\n").filter((line) => line.startsWith("ExecStart"));
    expect(lines).toHaveLength(1);
    const entrypoint = /--entrypoint "((?:[^"\\]|\\.)*)"/.exec(lines[0] ?? "")?.[1] ?? "";
    const json = entrypoint.replaceAll(/\\(.)/g, "$1").replaceAll("$$", "$").replaceAll("%%", "%");
    expect(JSON.parse(json)).toEqual([
      ...["/bin/sh", "-c", "", "echo $HOME %h", "a\nExecStart=/bin/evil", 'quo"te\\', "é", "tail\\"],
    ]);
    expect(lines[0]).toContain('--env "A=1\\n[Service]\\nExecStartPre=/bin/evil"');
    expect(lines[0]).toContain('--env "B=$$PATH %%n"');
  });

  it("give a service its secrets to read, whatever its image says about where they are", async () => {
    const { text } = await readBySystemd(renderUnits(goldenCases["services-with-secrets"]()));
    const worker = text.split("=== ").find((unit) => unit.startsWith("./mos-svc-worker.service")) ?? "";
    const [line = ""] = worker.split("\n").filter((one) => one.startsWith("ExecStart="));
    const directory = `/run/mos/credentials/worker/${"0".repeat(32)}`;
    expect(line).toContain(`-v ${directory}:/run/host/credentials:ro,nosuid,nodev,noexec`);
    expect(line).toContain("--env CREDENTIALS_DIRECTORY=/run/host/credentials");
    expect(line).not.toContain("elsewhere");
  });
});

describe("unit names", () => {
  it("are those that systemd-escape makes", async () => {
    const { escapePath, escapeUnitName } = await import("../../src/systemd/escape.ts");
    const samples = ["/run/mos/roots/my-service", "/a b/c.d", "/é/ü", "/.hidden", "/x:y_z"];
    for (const sample of samples) {
      expect(escapePath(sample)).toBe((await run("systemd-escape", ["--path", sample])).stdout.trim());
      expect(escapeUnitName(sample.slice(1))).toBe(
        (await run("systemd-escape", ["--", sample.slice(1)])).stdout.trim(),
      );
    }
  });
});
