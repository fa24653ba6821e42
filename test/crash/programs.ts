// Stands for the programs of the running system that an update asks beside systemd (which is test/memory-manager.ts): a
// device mapper without a bad block. setup.ts puts it in the place of src/system/process.ts. What else is run
// (mksquashfs, veritysetup for the images of the test) is run.
import type * as processes from "../../src/system/process.ts";

type Processes = typeof processes;

/** The module with these programs answered. */
export function withPrograms(real: Processes): Processes {
  return {
    ...real,
    run: async (program, args, options) => {
      if (program === "dmsetup") return { exitCode: 0, stdout: "", stderr: "" };
      return await real.run(program, args, options);
    },
  };
}
