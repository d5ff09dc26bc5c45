// Notes, verifier keys, checkpoints and their signatures (C2SP; protocol.md 14.1, 14.2).
import { concat, demand, fromHex, hex, integer, number, refuse, same, sha256, textOf, u64, u8, utf8 } from "./octets.mjs";
import { checkSigningKey, sign, verify as verifyEd25519 } from "./ed25519.mjs";
import { verify as verifyMlDsa } from "./ml_dsa.mjs";

export const ED25519 = 1;
export const ED25519_COSIGNATURE = 4;
export const ML_DSA_44 = 6;
const KEY_LENGTHS = { [ED25519]: 32, [ED25519_COSIGNATURE]: 32, [ML_DSA_44]: 1312 };
const PAYLOAD_LENGTHS = { [ED25519]: 64, [ED25519_COSIGNATURE]: 72, [ML_DSA_44]: 2428 };
const LAST_SECOND = 253402300799n;
const MOST_SIGNATURES = 64;
const MOST_CHECKPOINT = 512 * 1024;

export function base64(text) {
  const form = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
  demand(form.test(text), "malformed_message", "base64");
  const octets = Buffer.from(text, "base64");
  demand(octets.toString("base64") === text, "not_canonical", "base64");
  return octets;
}

export const toBase64 = (octets) => Buffer.from(octets).toString("base64");

// A number of at most 63 bits in decimal.
export function decimal(text) {
  demand(/^(0|[1-9][0-9]*)$/.test(text) && text.length < 20 && BigInt(text) < 1n << 63n, "malformed_message", "number");
  return BigInt(text);
}

export function checkKeyName(name) {
  demand(name !== "" && !/[\p{White_Space}+]/u.test(name) && utf8(name).length <= 255, "malformed_message", "key name");
}

export const keyId = (name, kind, key) => sha256(utf8(name), "\n", u8(kind), key).subarray(0, 4);

export function verifierKey(name, kind, key) {
  checkKeyName(name);
  demand(kind in KEY_LENGTHS, "unsupported_version", "type of a key");
  demand(key.length === KEY_LENGTHS[kind], "malformed_message", "length of a key");
  if (kind !== ML_DSA_44) checkSigningKey(key);
  return { name, kind, key, keyId: keyId(name, kind, key) };
}

export const vkeyText = ({ name, kind, key, keyId: id }) => `${name}+${hex(id)}+${toBase64(concat(u8(kind), key))}`;

export function readVkey(text) {
  const parts = text.split("+");
  demand(parts.length >= 3, "malformed_message", "vkey");
  const [name, id, encoded] = [parts[0], parts[1], parts.slice(2).join("+")];
  const octets = base64(encoded);
  demand(octets.length > 0 && /^[0-9A-Fa-f]{8}$/.test(id), "malformed_message", "vkey");
  const key = verifierKey(name, octets[0], octets.subarray(1));
  demand(hex(key.keyId) === id, "not_canonical", "key id");
  return key;
}

export function readSignatureLines(lines) {
  const seen = new Set();
  return lines.map((line) => {
    const [, name, encoded] = /^— ([^ ]+) ([^ ]+)$/.exec(line) ?? refuse("malformed_message", "signature line");
    checkKeyName(name);
    const octets = base64(encoded);
    demand(octets.length > 4, "malformed_message", "signature line");
    const signature = { name, keyId: octets.subarray(0, 4), payload: octets.subarray(4) };
    const key = name + " " + hex(signature.keyId);
    demand(!seen.has(key), "not_canonical", "one key twice");
    seen.add(key);
    return signature;
  });
}

export const signatureLine = ({ name, keyId: id, payload }) => `— ${name} ${toBase64(concat(id, payload))}\n`;

// The lines of a text, each of which ends in a newline.
export function linesOf(text) {
  demand(text.endsWith("\n"), "malformed_message", "no newline at the end");
  return text.slice(0, -1).split("\n");
}

export function readNote(octets) {
  const text = textOf(octets);
  demand(!/[\x00-\x09\x0b-\x1f]/.test(text), "malformed_message", "control character");
  const end = text.lastIndexOf("\n\n");
  demand(end >= 0 && text.endsWith("\n"), "malformed_message", "note");
  const lines = text.slice(end + 2).split("\n").slice(0, -1);
  demand(lines.length > 0, "malformed_message", "no signature");
  demand(lines.length <= MOST_SIGNATURES, "limit_exceeded", "signatures");
  return { text: text.slice(0, end + 1), signatures: readSignatureLines(lines) };
}

export const noteText = ({ text, signatures }) => text + "\n" + signatures.map(signatureLine).join("");
export const checkpointText = ({ origin, size, root }) => `${origin}\n${size}\n${toBase64(root)}\n`;
export const signedText = (checkpoint) => noteText({ text: checkpointText(checkpoint), signatures: checkpoint.signatures });

export function readCheckpoint(octets) {
  demand(octets.length <= MOST_CHECKPOINT, "limit_exceeded", "checkpoint");
  const { text, signatures } = readNote(octets);
  const lines = linesOf(text);
  demand(lines.length === 3, "malformed_message", "lines of a checkpoint");
  const [origin, size, root] = [lines[0], decimal(lines[1]), base64(lines[2])];
  demand(origin !== "" && utf8(origin).length <= 255 && root.length === 32, "malformed_message", "origin or root");
  return { origin, size, root, signatures };
}

// What a key of this type signs of a checkpoint.
export function signedOctets(name, kind, checkpoint, seconds) {
  const text = checkpointText(checkpoint);
  if (kind === ED25519) return utf8(text);
  if (kind === ED25519_COSIGNATURE) return utf8(`cosignature/v1\ntime ${seconds}\n${text}`);
  const counted = (octets) => concat(u8(octets.length), octets);
  const { origin, size, root } = checkpoint;
  return concat(utf8("subtree/v1\n\0"), counted(utf8(name)), u64(seconds), counted(utf8(origin)), u64(0), u64(size), root);
}

export function makeSignature(seed, key, checkpoint, seconds) {
  const signature = sign(seed, signedOctets(key.name, key.kind, checkpoint, seconds));
  return { name: key.name, keyId: key.keyId, payload: key.kind === ED25519 ? signature : concat(integer(seconds, 8), signature) };
}

export const isOf = (signature, key) => signature.name === key.name && same(signature.keyId, key.keyId);

// The time that the signature states, in seconds; null for type 1.
export function verifySignature(key, checkpoint, signature) {
  demand(isOf(signature, key), "signature_invalid", "of another key");
  demand(signature.payload.length === PAYLOAD_LENGTHS[key.kind], "signature_invalid", "length");
  if (key.kind === ED25519) {
    verifyEd25519(key.key, signedOctets(key.name, key.kind, checkpoint, null), signature.payload);
    return null;
  }
  const seconds = number(signature.payload.subarray(0, 8));
  demand(seconds > 0n && seconds <= LAST_SECOND, "signature_invalid", "time");
  const verify = key.kind === ML_DSA_44 ? verifyMlDsa : verifyEd25519;
  verify(key.key, signedOctets(key.name, key.kind, checkpoint, seconds), signature.payload.subarray(8));
  return seconds;
}

// 14.2: both signatures of the log stand first. The time of the second.
export function verifyLog(checkpoint, keys) {
  const of = (kind, signature) =>
    keys.find((key) => key.kind === kind && key.name === checkpoint.origin && signature && isOf(signature, key)) ??
    refuse("signature_invalid", "signature of the log missing");
  const [first, second] = checkpoint.signatures;
  verifySignature(of(ED25519, first), checkpoint, first);
  return verifySignature(of(ML_DSA_44, second), checkpoint, second);
}

export const shownSignature = ({ name, keyId: id, payload }) => ({ name, key_id: hex(id), payload: hex(payload) });
export const signatureShown = ({ name, key_id: id, payload }) => ({ name, keyId: fromHex(id), payload: fromHex(payload) });
