// Ed25519 (RFC 8032) and signed statements (protocol.md 4.1).
import { createPrivateKey, createPublicKey, sign as signWith, verify as verifyWith } from "node:crypto";
import { concat, demand, domainLabel, fromHex, hex, lengthAndOctets, lengthAndText, littleEndian } from "./octets.mjs";

const P = (1n << 255n) - 19n;
const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const Y_OF_SMALL_ORDER = new Set([
  0n, 1n, P - 1n, P, P + 1n,
  littleEndian(fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
  littleEndian(fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
]);
const PRIVATE_PREFIX = fromHex("302e020100300506032b657004220420");
const PUBLIC_PREFIX = fromHex("302a300506032b6570032100");

export function checkSigningKey(key) {
  demand(key.length === 32, "malformed_message", "length of a signing key");
  demand(!Y_OF_SMALL_ORDER.has(littleEndian(key) & ((1n << 255n) - 1n)), "malformed_message", "key of small order");
}

const privateKey = (seed) => createPrivateKey({ key: concat(PRIVATE_PREFIX, seed), format: "der", type: "pkcs8" });

export function publicKey(seed) {
  return createPublicKey(privateKey(seed)).export({ format: "der", type: "spki" }).subarray(PUBLIC_PREFIX.length);
}

export const sign = (seed, octets) => signWith(null, octets, privateKey(seed));

export function verify(key, octets, signature) {
  checkSigningKey(key);
  demand(signature.length === 64, "signature_invalid", "length");
  demand(littleEndian(signature.subarray(32)) < ORDER, "signature_invalid", "S above the group order");
  const spki = createPublicKey({ key: concat(PUBLIC_PREFIX, key), format: "der", type: "spki" });
  demand(verifyWith(null, octets, spki, signature), "signature_invalid");
}

export function signedOctets(context, body) {
  return concat(domainLabel("signature"), lengthAndText(context), lengthAndOctets(body));
}

// `part` is {body, signature} in hexadecimal.
export function verifyStatement(key, context, part) {
  verify(fromHex(key), signedOctets(context, fromHex(part.body)), fromHex(part.signature));
}

export function signStatement(seed, context, body) {
  return { body: hex(body), signature: hex(sign(seed, signedOctets(context, body))) };
}
