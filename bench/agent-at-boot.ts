// What the agent does at a start of the device, up to where systemd takes over.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../src/system/process.ts";
import { figure } from "./measure.ts";
import { stageDevice } from "./staged-device.ts";
import { type Bench, ms, node, type Subject } from "./subject.ts";

interface BootAnswer {
  readonly start: number;
  readonly startCpu: number;
  readonly verify: number;
  readonly render: number;
  readonly write: number;
  readonly cpu: number;
  readonly units: number;
}

export async function agentAtBoot(bench: Bench): Promise<Subject> {
  const rows: string[][] = [];
  for (const count of [1, 10, 50]) {
    const root = await stageDevice(bench, count);
    const answers: BootAnswer[] = [];
    for (let i = 0; i < 11; i++) {
      await rm(join(root, "units"), { recursive: true, force: true });
      const { stdout } = await run(node, [bench.children, "boot", root]);
      if (i > 0) answers.push(JSON.parse(stdout) as BootAnswer);
    }
    const of = (key: keyof BootAnswer): string => ms(figure(answers.map((answer) => answer[key])));
    rows.push([
      `${count}`,
      `${answers[0]?.units}`,
      of("start"),
      of("verify"),
      of("render"),
      of("write"),
      of("cpu"),
      of("startCpu"),
    ]);
  }
  return {
    title: "Agent at boot, up to where systemd takes over",
    headings: [
      "services",
      "unit files",
      "start ms",
      "verify ms",
      "render ms",
      "write ms",
      "CPU ms beyond start",
      "CPU ms of start",
    ],
    rows,
  };
}
