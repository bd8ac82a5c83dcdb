// Ed25519 by the one rule of docs/PROTOCOL.md, section 6.

import { createPublicKey, verify } from "node:crypto";

/** What comes before the 32 bytes of a key in its DER form (RFC 8410). */
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

/** Points of small order by their y, sign bit cleared; two have a second encoding, p and p + 1. */
const SMALL_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

const P = (1n << 255n) - 19n;

function y(point: Buffer): Buffer {
  const cleared = Buffer.from(point);
  cleared.writeUInt8(cleared.readUInt8(31) & 0x7f, 31);
  return cleared;
}

const hasSmallOrder = (point: Buffer): boolean => SMALL_ORDER.has(y(point).toString("hex"));

const isCanonical = (point: Buffer): boolean =>
  BigInt("0x" + Buffer.from(y(point)).reverse().toString("hex")) < P;

/**
 * Whether a signature is valid. OpenSSL refuses S of L or more and compares the cofactorless
 * equation byte for byte; what it lets pass is refused here.
 */
export function signed(key: Buffer, message: Buffer, signature: Buffer): boolean {
  if (key.length !== 32 || signature.length !== 64) return false;
  if (!isCanonical(key) || hasSmallOrder(key) || hasSmallOrder(signature.subarray(0, 32))) return false;
  try {
    const spki = createPublicKey({ key: Buffer.concat([SPKI, key]), format: "der", type: "spki" });
    return verify(null, message, spki, signature);
  } catch {
    return false; // no point of the curve
  }
}
