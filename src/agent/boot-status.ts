// What `mosctl status` says of how this boot began: the records of its stages.
import type { AgentContext } from "./context.ts";
import { readFilesRecord } from "./files-record.ts";
import { readInitrdRecord, readServiceRecord } from "./stage-record.ts";
import type { Status } from "./status-model.ts";

/** Nothing where the initrd has no stage of mos. */
export function bootStatus({ places }: AgentContext): Pick<Status, "boot"> {
  const record = readInitrdRecord(places);
  if (record === undefined) return {};
  const { version: _, bootsOn: _on, ...initrd } = record;
  const service = readServiceRecord(places)?.outcome;
  const { version: _files, ...files } = readFilesRecord(places) ?? {};
  const isThere = "outcome" in files;
  return {
    boot: { initrd, ...(service === undefined ? {} : { service }), ...(isThere ? { files } : {}) },
  };
}
