// GLib itself, where the host has it, to hold our reading of its formats against. Only called, never copied.
import { dlopen } from "node:ffi";

const signatures = {
  g_key_file_new: { arguments: [], return: "pointer" },
  g_key_file_free: { arguments: ["pointer"], return: "void" },
  g_key_file_load_from_data: {
    arguments: ["pointer", "buffer", "uint64", "int32", "buffer"],
    return: "int32",
  },
  g_key_file_get_string: { arguments: ["pointer", "buffer", "buffer", "buffer"], return: "pointer" },
  g_key_file_get_string_list: {
    arguments: ["pointer", "buffer", "buffer", "buffer", "buffer"],
    return: "pointer",
  },
  g_key_file_get_boolean: { arguments: ["pointer", "buffer", "buffer", "buffer"], return: "int32" },
  g_canonicalize_filename: { arguments: ["buffer", "buffer"], return: "pointer" },
  g_free: { arguments: ["pointer"], return: "void" },
  g_strfreev: { arguments: ["pointer"], return: "void" },
  g_error_free: { arguments: ["pointer"], return: "void" },
  strlen: { arguments: ["pointer"], return: "uint64" },
  memcpy: { arguments: ["buffer", "pointer", "uint64"], return: "pointer" },
} as const;

function open() {
  try {
    return dlopen("libglib-2.0.so.0", signatures).functions;
  } catch {
    return undefined;
  }
}

const loaded = open();
/** Whether GLib is there to compare with. */
export const hasGlib = loaded !== undefined;

function glib() {
  if (loaded === undefined) throw new Error("this host has no GLib");
  return loaded;
}

const zeroed = (latin1: string): Buffer => Buffer.from(`${latin1}\0`, "latin1");

function readPointer(pointer: bigint): bigint {
  const buffer = Buffer.alloc(8);
  glib().memcpy(buffer, pointer, 8n);
  return buffer.readBigUInt64LE();
}

/** One character for each byte. */
function readText(pointer: bigint): string {
  const length = glib().strlen(pointer);
  const buffer = Buffer.alloc(Number(length));
  if (length > 0n) glib().memcpy(buffer, pointer, length);
  return buffer.toString("latin1");
}

/** g_canonicalize_filename */
export function glibCanonical(path: string, base: string): string {
  const pointer = glib().g_canonicalize_filename(zeroed(path), zeroed(base));
  const text = readText(pointer);
  glib().g_free(pointer);
  return text;
}

interface GlibKeyFile {
  readonly string: (group: string, key: string) => string | undefined;
  readonly list: (group: string, key: string) => readonly string[] | undefined;
  readonly boolean: (group: string, key: string) => boolean | undefined;
}

/** Runs `use` on what GLib makes of a key file; undefined when it refuses it. Texts have one character a byte. */
export function withGlibKeyFile<T>(bytes: Buffer, use: (file: GlibKeyFile) => T): T | undefined {
  const functions = glib();
  const file = functions.g_key_file_new();
  const failed = (error: Buffer): boolean => {
    const pointer = error.readBigUInt64LE();
    if (pointer !== 0n) functions.g_error_free(pointer);
    return pointer !== 0n;
  };
  try {
    const error = Buffer.alloc(8);
    if (functions.g_key_file_load_from_data(file, bytes, BigInt(bytes.length), 0, error) === 0) {
      failed(error);
      return undefined;
    }
    return use({
      string: (group, key) => {
        const problem = Buffer.alloc(8);
        const pointer = functions.g_key_file_get_string(file, zeroed(group), zeroed(key), problem);
        if (failed(problem)) return undefined;
        const text = readText(pointer);
        functions.g_free(pointer);
        return text;
      },
      list: (group, key) => {
        const problem = Buffer.alloc(8);
        const length = Buffer.alloc(8);
        const array = functions.g_key_file_get_string_list(file, zeroed(group), zeroed(key), length, problem);
        if (failed(problem)) return undefined;
        const parts: string[] = [];
        for (let i = 0n; i < length.readBigUInt64LE(); i++) parts.push(readText(readPointer(array + 8n * i)));
        functions.g_strfreev(array);
        return parts;
      },
      boolean: (group, key) => {
        const problem = Buffer.alloc(8);
        const value = functions.g_key_file_get_boolean(file, zeroed(group), zeroed(key), problem);
        return failed(problem) ? undefined : value !== 0;
      },
    });
  } finally {
    functions.g_key_file_free(file);
  }
}
