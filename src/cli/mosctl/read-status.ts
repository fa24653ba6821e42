// The status of this device: the agent's answer, or, where none runs, found out in this process.
import { requestStatus } from "../../agent/client.ts";
import type { Status } from "../../agent/status-model.ts";

export async function readStatus(): Promise<Status> {
  const answer = await requestStatus();
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { status }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/status.ts"),
  ]);
  return await status(deviceContext());
}
