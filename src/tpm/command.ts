// One command and its answer as bytes: header, handles, authorizations, parameters (Part 1, section 18).
import { MosError } from "../errors/mos-error.ts";
import { decodeAll, encode, Reader, Writer } from "./buffer.ts";
import { type CommandName, commands, permanent, sessionAttributes, structureTags } from "./constants.ts";
import { digest } from "./hashes.ts";
import type { Entity } from "./names.ts";
import { type Authorization, attributesOf, type Session, type SessionUse, sessionHash } from "./session.ts";
import { headerSize } from "./transport.ts";

export interface Command {
  readonly name: CommandName;
  readonly handles?: readonly Entity[];
  /** Of the first handles, as many as the command wants authorized. */
  readonly authorizations?: readonly Authorization[];
  readonly parameters?: (writer: Writer) => void;
  /** The answer begins with a handle. */
  readonly returnsHandle?: boolean;
  /** The first parameter is a TPM2B, so that a salted session can encrypt it. */
  readonly encryptIn?: boolean;
  /** The same of the answer. What the decoder keeps it must copy: the answer is overwritten afterwards. */
  readonly encryptOut?: boolean;
  /** The command carries a secret, and is not sent without encryption. */
  readonly secret?: boolean;
  /** The authorization value after the command, where it changes it. */
  readonly authValueAfter?: Uint8Array;
}

interface Used extends SessionUse {
  readonly session: Session;
}

/** A command that was made ready, and what is needed to understand its answer. */
export class Exchange {
  readonly bytes: Uint8Array;
  private readonly command: Command;
  /** In the order of the authorizations; undefined: an empty password. */
  private readonly uses: readonly (Used | undefined)[];

  constructor(command: Command) {
    this.command = command;
    const authorizations = command.authorizations ?? [];
    this.uses = authorizations.map((authorization, at) => useOf(command, authorization, at === 0));
    for (const use of this.uses) use?.session.roll();
    const first = this.uses[0];
    if (command.secret === true && first?.session.salted !== true) {
      throw new MosError("internal", `refused to send ${command.name} with a secret in clear`);
    }
    this.bytes = this.encode(first);
  }

  private encode(first: Used | undefined): Uint8Array {
    const { name, handles = [], parameters } = this.command;
    const writer = new Writer();
    parameters?.(writer);
    const body = writer.finishAndWipe();
    if (first !== undefined && (first.attributes & sessionAttributes.decrypt) !== 0) {
      first.session.encrypt(firstParameter(body), first.authValue);
    }
    const header = new Writer().u32(commands[name]).finish();
    const cpHash = digest(sessionHash, header, ...handles.map((entity) => entity.name), body);
    const area = new Writer();
    for (const use of this.uses) writeAuthorization(area, use, cpHash);
    const authorizations = area.finish();
    const tag = this.uses.length > 0 ? structureTags.sessions : structureTags.noSessions;
    const rest = encode((out) => {
      for (const { handle } of handles) out.u32(handle);
      if (this.uses.length > 0) out.u32(authorizations.length).raw(authorizations);
      out.raw(body);
    });
    return encode((out) =>
      out
        .u16(tag)
        .u32(rest.length + headerSize)
        .u32(commands[name])
        .raw(rest),
    );
  }

  /** The response code of an answer. @throws SyntaxError when the answer is malformed */
  responseCode(answer: Uint8Array): number {
    const reader = new Reader(answer);
    const tag = reader.u16();
    const size = reader.u32();
    const code = reader.u32();
    if (size !== answer.length) throw new SyntaxError(`it says ${size} bytes and has ${answer.length}`);
    const expected = code === 0 && this.uses.length > 0 ? structureTags.sessions : structureTags.noSessions;
    if (tag !== expected && !(code !== 0 && tag === structureTags.tpm12Answer)) {
      throw new SyntaxError(`its tag is 0x${tag.toString(16)}`);
    }
    if (code !== 0 && reader.left > 0) throw new SyntaxError("a refusal with something after it");
    return code;
  }

  /**
   * Checks a successful answer and decodes it.
   * @throws SyntaxError when it is malformed, MosError `tpm-response-forged`
   */
  decode<T>(answer: Uint8Array, decode: (reader: Reader, handle: number) => T): T {
    const reader = new Reader(answer);
    reader.raw(headerSize);
    const handle = this.command.returnsHandle === true ? reader.u32() : 0;
    if (this.uses.length === 0) return decodeAll(reader.rest(), (rest) => decode(rest, handle));
    const body = reader.raw(reader.u32());
    const rpHash = digest(sessionHash, new Writer().u32(0).u32(commands[this.command.name]).finish(), body);
    for (const use of this.uses) this.checkAuthorization(reader, use, rpHash);
    reader.end();
    const first = this.uses[0];
    const encrypted = first !== undefined && (first.attributes & sessionAttributes.encrypt) !== 0;
    if (encrypted) first.session.decrypt(firstParameter(body), first.authValue);
    for (const use of this.uses) use?.session.settle(use);
    try {
      return decodeAll(body, (rest) => decode(rest, handle));
    } finally {
      if (encrypted) body.fill(0);
    }
  }

  private checkAuthorization(reader: Reader, use: Used | undefined, rpHash: Uint8Array): void {
    const nonce = reader.sized(64);
    const attributes = reader.u8();
    const hmac = reader.sized(64);
    if (use === undefined) {
      if (nonce.length + hmac.length > 0) throw new SyntaxError("an answer to a password that has a nonce");
      return;
    }
    const after = { ...use, attributes, authValue: this.command.authValueAfter ?? use.authValue };
    const genuine = use.session.accept(rpHash, nonce, hmac, after);
    if (!genuine || attributes !== use.attributes) {
      throw new MosError(
        "tpm-response-forged",
        `cannot trust the answer to ${this.command.name}: it does not prove that it is the TPM's`,
        { about: this.command.name },
      );
    }
  }
}

function useOf(command: Command, authorization: Authorization, first: boolean): Used | undefined {
  if (authorization.kind === "empty") return undefined;
  const { session, authValue, last = false } = authorization;
  if (session.ended)
    throw new MosError("internal", `refused to send ${command.name} in a session that ended`);
  const encrypts = first && session.salted;
  const decrypt = encrypts && command.encryptIn === true;
  const encrypt = encrypts && command.encryptOut === true;
  return { session, authValue, last, attributes: attributesOf(last, decrypt, encrypt) };
}

function writeAuthorization(area: Writer, use: Used | undefined, cpHash: Uint8Array): void {
  if (use === undefined) {
    area.u32(permanent.password).u16(0).u8(sessionAttributes.continueSession).u16(0);
    return;
  }
  area.u32(use.session.handle).sized(use.session.nonce).u8(use.attributes);
  area.sized(use.session.prove(cpHash, use));
}

/** The bytes inside the TPM2B that parameters begin with. */
function firstParameter(parameters: Uint8Array): Uint8Array {
  return new Reader(parameters).sized();
}
