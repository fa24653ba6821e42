// Configuration files of a service: each is written by a unit of its own from data in that unit, in base64, so that
// nothing in it can mean anything to systemd. The directory is called after what is in it, so that another content means
// another container, and so a restart of just that service.
import { createHash } from "node:crypto";
import type { Target } from "../manifest/schema.ts";
import { command, type Entry, formatUnit, raw } from "../systemd/unit-file.ts";
import type { RenderedUnit } from "./model.ts";
import { filesDirectory, fileUnit, type Places } from "./unit-names.ts";

type File = NonNullable<Target["files"]>[number];

interface PlacedFile {
  readonly file: File;
  readonly unit: string;
  /** On the device. */
  readonly directory: string;
  readonly path: string;
}

function placed({ service_name: service, files = [] }: Target, places: Places): PlacedFile[] {
  return files.map((file) => {
    const mode = file.executable === true ? "executable" : "plain";
    const tag = createHash("sha256")
      .update(`${mode}\n${file.dest}\n${file.content}`)
      .digest("hex")
      .slice(0, 32);
    const directory = filesDirectory(places, service);
    return { file, directory, path: `${directory}/${tag}`, unit: fileUnit(service, tag) };
  });
}

/** The units that a service must have before its files can be mounted. */
export function fileUnits(target: Target, places: Places): string[] {
  return placed(target, places).map(({ unit }) => unit);
}

/** What a container's unit says about its files. */
export function fileEntries(target: Target, places: Places): Entry[] {
  return placed(target, places).map(({ file, path }): Entry => {
    const exec = file.executable === true ? "" : ",noexec";
    return ["Volume", raw(`${path}:${file.dest}:ro,nosuid,nodev${exec}`)];
  });
}

/** `owner` is the first host id of the service's nsgroup, 0 for the host's own map. */
export function renderFiles(target: Target, owner: number, places: Places): RenderedUnit[] {
  return placed(target, places).map(({ file, directory, path, unit }) => {
    const ids = [`--owner=${owner}`, `--group=${owner}`];
    const mode = file.executable === true ? "--mode=0555" : "--mode=0444";
    const content = formatUnit([
      {
        name: "Unit",
        entries: [
          ["Description", raw(`mos file ${file.dest} of ${target.service_name}`)],
          ["DefaultDependencies", raw("no")],
          ["StopWhenUnneeded", raw("yes")],
        ],
      },
      {
        name: "Service",
        entries: [
          ["Type", raw("oneshot")],
          ["RemainAfterExit", raw("yes")],
          ["StandardInput", raw("data")],
          ["StandardInputData", raw(Buffer.from(file.content, "utf8").toString("base64"))],
          ["ExecStart", command("install", "--directory", "--mode=0711", directory)],
          ["ExecStart", command("install", ...ids, mode, "/dev/stdin", path)],
          ["ExecStop", command("rm", "--force", path)],
        ],
      },
    ]);
    return { kind: "systemd", name: unit, content, services: [target.service_name] };
  });
}
