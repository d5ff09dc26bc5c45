// Octets, integers, hashes, and the word with which something is refused (protocol.md 3, 12).
import { createHash, hkdfSync } from "node:crypto";

export class Refusal extends Error {
  constructor(code, detail = "") {
    super(detail ? `${code}: ${detail}` : code);
    this.code = code;
  }
}

export function refuse(code, detail = "") {
  throw new Refusal(code, detail);
}

export function demand(holds, code, detail = "") {
  if (!holds) refuse(code, detail);
}

// What `work` does, with every refusal in it called `code`.
export function as(code, work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refusal) refuse(code, error.message);
    throw error;
  }
}

export function refusalOf(work) {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

export const hex = (octets) => Buffer.from(octets).toString("hex");
export const fromHex = (text) => Buffer.from(text, "hex");
export const utf8 = (text) => Buffer.from(text, "utf8");
export const concat = (...parts) => Buffer.concat(parts);
export const same = (one, other) => Buffer.compare(one, other) === 0;
export const zeros = (count) => Buffer.alloc(count);

// The integer `value` (number, BigInt or decimal text) in `width` octets, big-endian.
export function integer(value, width) {
  const number = BigInt(value);
  demand(number >= 0n && number < 1n << BigInt(8 * width), "malformed_message", "integer out of range");
  return fromHex(number.toString(16).padStart(2 * width, "0"));
}

export const u8 = (value) => integer(value, 1);
export const u16 = (value) => integer(value, 2);
export const u32 = (value) => integer(value, 4);
export const u64 = (value) => integer(value, 8);
export const lengthAndOctets = (octets) => concat(u32(octets.length), octets);
export const lengthAndText = (text) => lengthAndOctets(utf8(text.normalize("NFC")));

export const number = (octets) => (octets.length === 0 ? 0n : BigInt("0x" + hex(octets)));
export const littleEndian = (octets) => number(Buffer.from(octets).reverse());
export const toLittleEndian = (value, width) => Buffer.from(integer(value, width)).reverse();

export function textOf(octets) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return refuse("malformed_message", "no UTF-8");
  }
}

const digest = (name) => (...parts) => {
  const hash = createHash(name);
  for (const part of parts) hash.update(part);
  return hash.digest();
};

export const sha256 = digest("sha256");
export const sha512 = digest("sha512");
export const sha3_256 = digest("sha3-256");
export const sha3_512 = digest("sha3-512");
export const shake128 = (octets, length) => createHash("shake128", { outputLength: length }).update(octets).digest();
export const shake256 = (octets, length) => createHash("shake256", { outputLength: length }).update(octets).digest();

// 3.2
export function domainLabel(label) {
  const octets = Buffer.from("candor/v1/" + label, "latin1");
  demand(/^[\x00-\x7f]*$/.test(label) && octets.length < 256, "malformed_message", "domain label");
  return concat(u8(octets.length), octets);
}

// 3.3
export function H(label, ...parts) {
  return sha256(domainLabel(label), ...parts.map(lengthAndOctets));
}

// 3.5
export function KDF(secret, label, info, length) {
  return Buffer.from(hkdfSync("sha256", secret, domainLabel(label), info, length));
}

// `octets` cut into pieces of these lengths, the rest dropped.
export function cut(octets, ...lengths) {
  let at = 0;
  return lengths.map((length) => octets.subarray(at, (at += length)));
}
