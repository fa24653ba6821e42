// The contract of the socket API: what crosses it is read back as what it was, whatever text is in it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatEvent, httpStatusOf, readErrorDocument } from "../../../src/agent/api.ts";
import { formatRecord } from "../../../src/agent/log.ts";
import { catalogue, type ErrorCode, exitCodes } from "../../../src/errors/catalogue.ts";
import { isErrorCode, MosError } from "../../../src/errors/mos-error.ts";

const codes = Object.keys(catalogue).filter(isErrorCode);
const text = fc.string({ unit: "binary" });

describe("the HTTP status of an error", () => {
  const statuses: Readonly<Record<number, number>> = {
    [exitCodes.usage]: 400,
    [exitCodes.input]: 400,
    [exitCodes.busy]: 409,
    [exitCodes.refused]: 422,
    [exitCodes.source]: 502,
    [exitCodes.state]: 507,
    [exitCodes.failure]: 500,
    [exitCodes.unhealthy]: 500,
  };
  it.each(codes)("is that of its class: %s", (code: ErrorCode) => {
    expect(httpStatusOf(new MosError(code, "x"))).toBe(statuses[catalogue[code].exit]);
  });
});

describe("an event", () => {
  it("is one event of three lines, whatever text is in it", () => {
    fc.assert(
      fc.property(fc.constantFrom(...codes), text, text, (code, message, about) => {
        const data = new MosError(code, message, { about, problems: [message] }).toDocument();
        const [first, second, ...rest] = formatEvent({ event: "error", data }).split("\n");
        expect([first, rest]).toEqual(["event: error", ["", ""]]);
        const document: unknown = JSON.parse(second?.slice("data: ".length) ?? "");
        expect(readErrorDocument(document).toDocument()).toEqual(data);
      }),
    );
  });
});

describe("an error document", () => {
  it("of any form is read as some error", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (document) => {
        expect(readErrorDocument(document)).toBeInstanceOf(MosError);
      }),
    );
  });
});

describe("a line of the log", () => {
  it("is one line without control characters, whatever text is in it", () => {
    fc.assert(
      fc.property(text, fc.dictionary(fc.constantFrom("about", "service", "code"), text), (msg, fields) => {
        const line = formatRecord(JSON.stringify({ ...fields, level: 30, msg }));
        expect(line).toMatch(/^<6>[^\n]*\n$/);
        expect(line.slice(0, -1)).not.toMatch(/\p{Cc}/u);
      }),
    );
  });

  it("shows what a terminal would take for a command", () => {
    const line = formatRecord(JSON.stringify({ level: 30, msg: "x", service: "\u007f\u009b2J" }));
    expect(line).toBe('<6>x service="\\u007f\\u009b2J"\n');
  });

  it("cannot pretend to have a field that it has not", () => {
    const line = formatRecord(JSON.stringify({ level: 30, msg: "x", service: 'a" code="b' }));
    expect(line).toBe('<6>x service="a\\" code=\\"b"\n');
  });
});
