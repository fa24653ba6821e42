import { describe, expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { chooseDisk, type Disk } from "../../../src/install/disks.ts";
import { repartDefinitions } from "../../../src/install/repart.ts";

const gibibyte = 1024 ** 3;
const disk = (name: string, more: Partial<Disk> = {}): Disk => ({
  ...{ name, size: 8 * gibibyte, isReadOnly: false, content: [] },
  ...more,
});
const wanted = { name: undefined, size: 2 * gibibyte, wipe: false };

function refusal(disks: readonly Disk[], more: Partial<typeof wanted> | { name: string } = {}): string {
  try {
    chooseDisk(disks, { ...wanted, ...more });
  } catch (error) {
    if (error instanceof MosError && error.code === "install-refused") return error.message;
    throw error;
  }
  return "none";
}

describe("an installer", () => {
  test("takes the only disk, when it is empty", () => {
    expect(chooseDisk([disk("vda")], wanted).name).toBe("vda");
    expect(chooseDisk([disk("sda", { isReadOnly: true }), disk("sdb")], wanted).name).toBe("sdb");
  });

  test("takes the disk that the image names, of several", () => {
    expect(chooseDisk([disk("sda"), disk("nvme0n1")], { ...wanted, name: "nvme0n1" }).name).toBe("nvme0n1");
  });

  test("writes over a disk that is not empty only when the image says so", () => {
    const full = disk("vda", { content: ["gpt", "ext4"] });
    expect(refusal([full])).toContain("/dev/vda is not empty (gpt, ext4)");
    expect(chooseDisk([full], { ...wanted, wipe: true }).name).toBe("vda");
  });

  test.each<[string, Disk[], string | undefined, string]>([
    ["there is none", [], undefined, "there is no disk"],
    ["there are two and none is named", [disk("sda"), disk("sdb")], undefined, "there are 2 disks"],
    ["the named one is not there", [disk("sda")], "sdb", "there is no disk /dev/sdb"],
    ["it is too small", [disk("sda", { size: gibibyte })], undefined, "too small"],
    ["it has no medium in it", [disk("sda", { size: 0 })], undefined, "there is no disk"],
  ])("refuses when %s", (_, disks, name, why) => {
    expect(refusal(disks, name === undefined ? {} : { name })).toContain(why);
  });
});

describe("what systemd-repart is told", () => {
  const hash = "0123456789abcdef".repeat(4);

  test("copies exactly the partitions of the root hash, and leaves the rest to state", () => {
    const files = repartDefinitions(hash, undefined, undefined);
    expect([...files.keys()]).toEqual([
      "10-esp.conf",
      "20-root.conf",
      "30-root-verity.conf",
      "50-state.conf",
    ]);
    const uuid = "01234567-89ab-cdef-0123-456789abcdef";
    expect(files.get("20-root.conf")).toContain(`UUID=${uuid}\nCopyBlocks=/dev/disk/by-partuuid/${uuid}\n`);
    expect(files.get("20-root.conf")).toContain("Weight=0");
    expect(files.get("50-state.conf")).not.toContain("Weight");
  });

  test("leaves state to be encrypted at the first start, when the image says so", () => {
    const state = repartDefinitions(hash, undefined, "/run/mark").get("50-state.conf");
    expect(state).toContain("CopyBlocks=/run/mark\n");
    expect(state).not.toContain("Format");
  });

  test("makes swap of one size when there is to be some", () => {
    expect(repartDefinitions(hash, 64, undefined).get("40-swap.conf")).toContain(
      "SizeMinBytes=64M\nSizeMaxBytes=64M\n",
    );
  });

  test("leaves swap empty, and of no type that is used as it is, beside a state that is encrypted", () => {
    const swap = repartDefinitions(hash, 64, "/run/mark").get("40-swap.conf");
    expect(swap).toContain("Type=0fc63daf-8483-4772-8e79-3d69d8477de4\nLabel=mos-swap\nSize");
    expect(repartDefinitions(hash, 64, undefined).get("40-swap.conf")).toContain("Format=swap\n");
  });
});
