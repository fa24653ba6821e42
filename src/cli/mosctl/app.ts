// `mosctl`: the commands of an operator, on the device.
import { application } from "../command.ts";
import { attestCommand } from "./attest.ts";
import { cancelCommand } from "./cancel.ts";
import { diffCommand } from "./diff.ts";
import { gcCommand } from "./gc.ts";
import { historyCommand } from "./history.ts";
import { installDisk } from "./install-disk.ts";
import { createBootFsCommand, mountCommand } from "./mount.ts";
import { rollbackCommand } from "./rollback.ts";
import { secretKeyCommand } from "./secret-key.ts";
import { setCommands } from "./set.ts";
import { statusCommand } from "./status.ts";
import { updateCommand } from "./update.ts";
import { verifyCommand } from "./verify.ts";

export const app = application(
  "mosctl",
  {
    brief: "Look at a device and update it",
    fullDescription: `Talks to the agent (mosd) over its sockets in /run/mos; where no agent runs, mosctl does the work itself.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 refused by a check, 5 source unreachable or broken,
6 no space or damaged state, 7 busy, 8 a service is not well, 1 anything else.`,
  },
  {
    attest: attestCommand,
    cancel: cancelCommand,
    "create-boot-fs": createBootFsCommand,
    diff: diffCommand,
    gc: gcCommand,
    history: historyCommand,
    "install-disk": installDisk,
    mount: mountCommand,
    rollback: rollbackCommand,
    "secret-key": secretKeyCommand,
    set: setCommands,
    status: statusCommand,
    update: updateCommand,
    verify: verifyCommand,
  },
);
