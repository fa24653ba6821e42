// `mosctl`: the commands of an operator, on the device.
import { application } from "../command.ts";
import { activateCommand } from "./activate.ts";
import { appCommands } from "./app-bundle.ts";
import { attestCommand } from "./attest.ts";
import { cancelCommand } from "./cancel.ts";
import { diffCommand } from "./diff.ts";
import { execCommand } from "./exec.ts";
import { gcCommand } from "./gc.ts";
import { historyCommand } from "./history.ts";
import { installDisk } from "./install-disk.ts";
import { logsCommand } from "./logs.ts";
import { createBootFsCommand, mountCommand } from "./mount.ts";
import { restartCommand, startCommand, stopCommand } from "./power.ts";
import { recoverCommand } from "./recover.ts";
import { recoveryKeyCommand } from "./recovery-key.ts";
import { rollbackCommand } from "./rollback.ts";
import { secretKeyCommand } from "./secret-key.ts";
import { servicesCommand } from "./services.ts";
import { setCommands } from "./set.ts";
import { statusCommand } from "./status.ts";
import { topCommand } from "./top.ts";
import { updateCommand } from "./update.ts";
import { verifyCommand } from "./verify.ts";
import { volumeCommands } from "./volume.ts";

export const app = application(
  "mosctl",
  {
    brief: "Look at a device and update it",
    fullDescription: `Talks to the agent (mosd) over its sockets in /run/mos; where no agent runs, mosctl does the work itself.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 refused by a check, 5 source unreachable or broken,
6 no space or damaged state, 7 busy, 8 a service is not well, 1 anything else.`,
  },
  {
    activate: activateCommand,
    app: appCommands,
    attest: attestCommand,
    cancel: cancelCommand,
    "create-boot-fs": createBootFsCommand,
    diff: diffCommand,
    exec: execCommand,
    gc: gcCommand,
    history: historyCommand,
    "install-disk": installDisk,
    logs: logsCommand,
    mount: mountCommand,
    recover: recoverCommand,
    "recovery-key": recoveryKeyCommand,
    restart: restartCommand,
    rollback: rollbackCommand,
    "secret-key": secretKeyCommand,
    services: servicesCommand,
    set: setCommands,
    start: startCommand,
    status: statusCommand,
    stop: stopCommand,
    top: topCommand,
    update: updateCommand,
    verify: verifyCommand,
    volume: volumeCommands,
  },
);
