// The file form of receipts, evidence and openings (protocol.md 16.2, 16.3).
import { demand, fromHex, hex, refuse, same, textOf, utf8 } from "./octets.mjs";
import { checkIdentifier } from "./identifiers.mjs";
import { DIRECTORY_ENTRY, HEAD, MEMBER_ENTRY, decodeEntry, headEntry } from "./entries.mjs";
import { base64, checkKeyName, readCheckpoint } from "./note.mjs";
import { readProof, verifyProof } from "./witness.mjs";

const MOST = 96 * 1024 * 1024;
const SHORT = { 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\" };
const escaped = (unit) => SHORT[unit] ?? (unit < 32 || unit > 126 ? "\\u" + unit.toString(16).padStart(4, "0") : String.fromCharCode(unit));
const quoted = (text) => `"${Array.from({ length: text.length }, (_, index) => escaped(text.charCodeAt(index))).join("")}"`;

function written(value, indent) {
  if (typeof value === "string") return quoted(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = indent + " ";
  const keys = Array.isArray(value) ? null : Object.keys(value).sort((one, other) => Buffer.compare(utf8(one), utf8(other)));
  const items = keys === null ? value.map((item) => written(item, inner)) : keys.map((key) => `${quoted(key)}: ${written(value[key], inner)}`);
  const [open, close] = keys === null ? "[]" : "{}";
  return items.length === 0 ? open + close : `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}`;
}

export const writeFile = (value) => written(value, "") + "\n";

export function readFile(octets) {
  demand(octets.length <= MOST, "limit_exceeded", "file");
  demand(octets.every((octet) => octet < 128), "malformed_message", "not ASCII");
  let value;
  try {
    value = JSON.parse(textOf(octets));
  } catch {
    refuse("malformed_message", "JSON");
  }
  demand(value !== null && typeof value === "object" && !Array.isArray(value), "malformed_message", "no object");
  demand(writeFile(value) === octets.toString("latin1"), "not_canonical", "file form");
  return value;
}

// Forms: functions that read a value of a file, refusing what has not that form. Octets become hexadecimal.
const malformed = (holds, detail) => demand(holds, "malformed_message", detail);

export const text = (value) => {
  malformed(typeof value === "string", "no text");
  return value;
};
export const whole = (value) => {
  malformed(Number.isSafeInteger(value) && value >= 0, "no number");
  return value;
};
export const octets = (length = null) => (value) => {
  const read = base64(text(value));
  malformed(length === null || read.length === length, "length");
  return hex(read);
};
export const constant = (expected) => (value) => {
  malformed(value === expected, `not ${expected}`);
  return value;
};
export const named = (kind) => (value) => {
  checkIdentifier(kind, text(value));
  return value;
};
export const keyName = (value) => {
  checkKeyName(text(value));
  return value;
};
export const list = (item) => (value) => {
  malformed(Array.isArray(value), "no list");
  return value.map((one) => item(one));
};
export const orNull = (form) => (value) => (value === null ? null : form(value));
export const object = (forms) => (value) => {
  malformed(value !== null && typeof value === "object" && !Array.isArray(value), "no object");
  malformed(Object.keys(value).sort().join() === Object.keys(forms).sort().join(), "keys");
  return Object.fromEntries(Object.entries(forms).map(([key, form]) => [key, form(value[key])]));
};
export const part = object({ body: octets(), signature: octets(64) });
export const checkpoint = (value) => readCheckpoint(utf8(text(value)));
export const logged = object({ entry: octets(), proof: (value) => readProof(utf8(text(value))) });

// The logged parts of a file that verify under one policy, in a log of one federation.
export class Log {
  constructor(federation, policy, now) {
    Object.assign(this, { federation, policy, now, latest: null });
  }

  checkOrigin(origin) {
    const prefix = `${this.federation}/log/`;
    const shard = origin.startsWith(prefix) && /^[1-9][0-9]*$/.test(origin.slice(prefix.length));
    demand(shard, "identity_mismatch", "log of another federation");
  }

  // The fields of the entry, which must be of this kind.
  entry({ entry, proof }, kind) {
    const seconds = verifyProof(proof, fromHex(entry), this.policy, this.now);
    this.checkOrigin(proof.checkpoint.origin);
    if (this.latest === null || seconds > this.latest) this.latest = seconds;
    const read = decodeEntry(fromHex(entry));
    demand(read.kind === kind, "malformed_message", "kind of an entry");
    return read.fields;
  }

  // The signing key of a member.
  memberKey(shown, node) {
    const fields = this.entry(shown, MEMBER_ENTRY);
    demand(fields.node === node, "identity_mismatch", "member");
    return fields.signing_key;
  }

  head(shown, head) {
    this.entry(shown, HEAD);
    demand(same(fromHex(shown.entry), headEntry(head)), "not_logged", "head");
  }

  directory(shown) {
    return this.entry(shown, DIRECTORY_ENTRY);
  }

  commitment(shown, kind, commitment) {
    const { commitments } = this.entry(shown, kind);
    const index = commitments.indexOf(hex(commitment));
    demand(index >= 0, "not_logged", "commitment");
    return index;
  }
}
