// The device's status: the agent's, or computed here where no agent runs.
import { requestStatus } from "../../agent/client.ts";
import type { Status } from "../../agent/status-model.ts";

/** @throws MosError what computing a status throws */
export async function readStatus(): Promise<Status> {
  const answer = await requestStatus();
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { status }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/status.ts"),
  ]);
  return await status(deviceContext());
}
