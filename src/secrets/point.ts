// Points of P-256 as both sides of an exchange write them: uncompressed (SEC 1, section 2.3.3), and never one that is
// not on the curve.
import { createECDH, createPublicKey, type KeyObject } from "node:crypto";

/** 04, x and y of 32 bytes each. */
export type Point = Uint8Array & { readonly brand: "Point" };

export const pointSize = 65;
const coordinateSize = 32;
const uncompressed = 0x04;
const curveName = "prime256v1";

/** The public key that a point is; importing it checks that it is on the curve. */
export function keyOfPoint(point: Point): KeyObject {
  const coordinate = (at: number): string =>
    Buffer.from(point.subarray(at, at + coordinateSize)).toString("base64url");
  const jwk = { kty: "EC", crv: "P-256", x: coordinate(1), y: coordinate(1 + coordinateSize) };
  return createPublicKey({ key: jwk, format: "jwk" });
}

/** Checks the bytes of a point. @throws SyntaxError also when it is not on the curve */
export function readPoint(bytes: Uint8Array): Point {
  if (bytes.length !== pointSize || bytes[0] !== uncompressed) {
    throw new SyntaxError("it does not begin with a point of P-256");
  }
  // The one place where points are made of bytes.
  const point = new Uint8Array(bytes) as Point;
  try {
    keyOfPoint(point);
  } catch {
    throw new SyntaxError("it begins with a point that is not on the curve P-256");
  }
  return point;
}

/** A point of its coordinates, big endian, where leading zeros may be missing. @throws SyntaxError */
export function pointOfCoordinates(x: Uint8Array, y: Uint8Array): Point {
  const bytes = Buffer.alloc(pointSize);
  bytes[0] = uncompressed;
  for (const [value, end] of [
    [x, 1 + coordinateSize],
    [y, pointSize],
  ] as const) {
    if (value.length > coordinateSize) throw new SyntaxError("a coordinate that is larger than its curve");
    bytes.set(value, end - value.length);
  }
  return readPoint(bytes);
}

/** x and y of a point, 32 bytes each. */
export function coordinatesOf(point: Point): { readonly x: Uint8Array; readonly y: Uint8Array } {
  return { x: point.subarray(1, 1 + coordinateSize), y: point.subarray(1 + coordinateSize) };
}

/** An ephemeral key: its point, and the x coordinate of what it has in common with a recipient, the caller's to wipe. */
export function makeEphemeral(recipient: Point): { readonly point: Point; readonly shared: Uint8Array } {
  const exchange = createECDH(curveName);
  const point = readPoint(exchange.generateKeys());
  return { point, shared: exchange.computeSecret(recipient) };
}
