// What a service can use up. Memory, processor and disk time are limits of the unit's control group, which holds podman's
// own processes as well (quadlet runs containers with `--cgroups=split`); processes and open files are the container's.
import type { Target } from "../manifest/schema.ts";
import { type Entry, raw } from "../systemd/unit-file.ts";
import type { Places } from "./unit-names.ts";

/** Processes and threads of one service; enough for any usual server, and an end to a fork bomb. */
const pidsLimit = 2048;

/** Lines of the [Container] section. */
export function containerLimits({ limits }: Target): Entry[] {
  const files = limits?.open_files;
  return [
    ["PidsLimit", raw(`${limits?.pids ?? pidsLimit}`)],
    ...(files === undefined ? [] : [["Ulimit", raw(`nofile=${files}:${files}`)] as const]),
  ];
}

/** Lines of the [Service] section (systemd.resource-control(5)). */
export function serviceLimits({ limits }: Target, { state }: Places): Entry[] {
  const { memory, cpus, io_weight: weight, io_read: read, io_write: write } = limits ?? {};
  // Of the storage that the state is on; bytes, because systemd takes M for a million.
  const rate = (mebibytes: number) => raw(`${state} ${mebibytes * 1024 * 1024}`);
  return [
    ...(memory === undefined
      ? []
      : [["MemoryMax", raw(`${memory}M`)] as const, ["MemorySwapMax", raw("0")] as const]),
    ...(cpus === undefined ? [] : [["CPUQuota", raw(`${Math.round(cpus * 100)}%`)] as const]),
    ...(weight === undefined ? [] : [["IOWeight", raw(`${weight}`)] as const]),
    ...(read === undefined ? [] : [["IOReadBandwidthMax", rate(read)] as const]),
    ...(write === undefined ? [] : [["IOWriteBandwidthMax", rate(write)] as const]),
  ];
}
