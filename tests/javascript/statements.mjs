// The signed statements of members: fields, and what of them a reader checks (protocol.md 6.7 to 10.1, 14.8, 14.9, 15.2).
import { H, concat, demand, fromHex, refuse, same, utf8 } from "./octets.mjs";
import { code, element, federation, fixed, identifier, list, message, node, octets, plain, proof, record, signingKey, text, time, tuple, u16, u32Type as u32, u63, u8, where } from "./canonical.mjs";
import { checkDisclosureKey } from "./sealing.mjs";
import { root as merkleRoot, leafHash } from "./merkle.mjs";

const DAY = 86400000n;
const disclosureKey = where(fixed(1216), (value) => checkDisclosureKey(fromHex(value)) ?? true);
const MOST_TARGETS = 2000;
const named = (name) => (value) => utf8(value[name]);
const ofText = (value) => utf8(value);

// A record whose fields, read or to be written, must also satisfy `check`.
const checked = (type, check) => ({
  read(source) {
    const value = type.read(source);
    check(value);
    return value;
  },
  write(value) {
    check(value);
    return type.write(value);
  },
});

// The head of an index, 6.7. The root is computed from the segments, not shown.
const segment = record([["number", u32], ["address", fixed(32)], ["octets", u32]]);
export const segmentsRoot = (segments) => merkleRoot(segments.map(({ address }) => leafHash(fromHex(address))));
const headRoot = {
  read(source, value) {
    const stated = source.take(32);
    demand(same(stated, segmentsRoot(value.segments)), "not_canonical", "root");
    return undefined;
  },
  write: (_, value) => segmentsRoot(value.segments),
};
const KEYS = [["key_weak", element], ["key_match", element], ["key_code", element]];
const threshold = code(3, 8);
const version = code(1, 255);
const HEAD = [
  ["federation", federation], ["node", node], ["sequence", u63], ["epoch", u32], ...KEYS, ["threshold", threshold], ["scheme_version", version],
  ["segments", list(segment, 4096, { order: ({ number: value }) => Buffer.from(value.toString(16).padStart(8, "0"), "hex") })],
  ["root", headRoot], ["issued", time],
];
const withoutRoot = (type) => ({
  ...type,
  read(source) {
    const { root, ...value } = type.read(source);
    return value;
  },
});
export const indexHead = message("index-head", withoutRoot(record(HEAD)));

// 7.1
export const CLASSES = ["W", "M", "C"];
export const SLOTS = { 1: { W: 4, M: 12, C: 0 }, 2: { W: 4, M: 12, C: 24 } };
export const PERSONS = [0, 1, 4, 16, 64];
const persons = where(u8, (value) => PERSONS.includes(value));
const shape = code(1, 2);
const COMMITMENTS = ["case", "consent", "officer", "filler"];
const onePerson = record(COMMITMENTS.map((name) => [name, fixed(32)]));
const countedBy = (name) => ({
  read(source, value) {
    return Array.from({ length: value[name] }, () => onePerson.read(source));
  },
  write: (values) => concat(...values.map((value) => onePerson.write(value))),
});
const target = record([["node", node], ["epoch", u32]]);
const elements = (name) => ({
  read(source, value) {
    const count = u16.read(source);
    demand(count === SLOTS[value.shape][name] * value.count, "malformed_message", "elements");
    return Array.from({ length: count }, () => element.read(source));
  },
  write: (values) => concat(u16.write(values.length), ...values.map((value) => element.write(value))),
});
const LOOKUP = checked(
  record([
    ["federation", federation], ["lookup_id", fixed(16)], ["asker", node], ["purpose", code(1, 7)], ["shape", shape], ["count", persons],
    ["persons", countedBy("count")], ["issued", time], ["expires", time],
    ["targets", list(target, MOST_TARGETS, { order: named("node"), least: 1 })], ...CLASSES.map((name) => [name, elements(name)]),
  ]),
  ({ issued, expires }) => demand(BigInt(expires) > BigInt(issued) && BigInt(expires) - BigInt(issued) <= DAY, "malformed_message", "life"),
);
const counting = (type) => ({
  read(source) {
    const { count, ...value } = type.read(source);
    return value;
  },
  write: (value) => type.write({ ...value, count: value.persons.length }),
});
export const lookup = message("lookup", counting(LOOKUP));
export const lookupDigest = (body) => H("lookup", body);

// 7.4
const left = record([["all", u32], ["W", u32], ["M", u32], ["C", u32]]);
const evaluation = (name) => ({
  read(source, value) {
    const count = SLOTS[value.shape][name] * value.persons;
    if (count === 0) return null;
    if (value.status === 1) return { elements: Array.from({ length: count }, () => element.read(source)), proof: proof.read(source) };
    demand(source.take(32 * count + 64).every((octet) => octet === 0), "not_canonical", "a refusal that says something");
    return null;
  },
  write(value, { shape: of, persons: number, status }) {
    const count = SLOTS[of][name] * number;
    if (count === 0) return Buffer.alloc(0);
    if (status !== 1) return Buffer.alloc(32 * count + 64);
    return concat(...value.elements.map((one) => element.write(one)), proof.write(value.proof));
  },
});
export const answer = message("answer", record([
  ["federation", federation], ["lookup_id", fixed(16)], ["lookup_digest", fixed(32)], ["node", node], ["asker", node], ["status", code(1, 6)],
  ["epoch", u32], ["answered", time], ["left", left], ["shape", shape], ["persons", persons], ...CLASSES.map((name) => [name, evaluation(name)]),
]));

// 9
const purpose = code(1, 7);
const caseText = plain(128);
export const disclosureRequest = message("disclosure-request", checked(record([
  ["federation", federation], ["request_id", fixed(16)], ["requester", node], ["owner", node], ["epoch", u32], ["handle", fixed(16)],
  ["commitment", fixed(32)], ["purpose", purpose], ["case", caseText], ["consent", fixed(32)], ["officer", plain(256)],
  ["lookup_id", fixed(16)], ["reply_key", disclosureKey], ["issued", time], ["expires", time],
]), ({ issued, expires }) => {
  const life = BigInt(expires) - BigInt(issued);
  demand(life > 0n && life <= 30n * DAY, "malformed_message", "life");
}));
export const requestDigest = (body) => H("disclosure-request", body);

const fieldName = where(text(64), (value) => /^[a-z][a-z0-9_]*$/.test(value));
const field = record([["name", fieldName], ["value", text(16384)]]);
const recordVersion = where(code(0, 255), (value) => value === 1, "unsupported_version");
export const canonicalRecord = message("record", {
  read(source) {
    const { version: _, ...value } = RECORD.read(source);
    return value;
  },
  write(value) {
    const fields = [...value.fields].sort((a, b) => Buffer.compare(utf8(a.name), utf8(b.name)));
    return RECORD.write({ ...value, version: 1, fields });
  },
});
const RECORD = record([["version", recordVersion], ["kind", code(1, 7)], ["tier", code(1, 2)], ["fields", list(field, 200, { order: named("name") })]]);

export const recordCommitment = (salt, octetsOf) => {
  demand(salt.length === 32, "malformed_message", "salt");
  return concat(salt, octetsOf);
};

const disputeStatus = code(1, 4);
const aRecord = octets(44000);
const subjectStatement = text(16000);
export const disclosureResponse = message("disclosure-response", checked(record([
  ["federation", federation], ["request_id", fixed(16)], ["request_digest", fixed(32)], ["owner", node], ["requester", node], ["outcome", code(1, 3)],
  ["salt", fixed(32)], ["record", aRecord], ["dispute_status", disputeStatus], ["subject_statement", subjectStatement], ["issued", time],
]), ({ outcome, salt, record: released }) => {
  demand(outcome === 1 || (/^0*$/.test(salt) && released === ""), "not_canonical", "a refusal that says something");
}));

// 9.8: what each kind asks for: action, whether there is a record, what may have been done.
export const RECALL_KINDS = {
  1: [2, true], 2: [3, true], 3: [1, false], 4: [3, false], 5: [3, false], 6: [1, false], 7: [1, false], 8: [3, false], 9: [3, false],
};
const DONE = { 1: 1, 2: 2, 3: 3 };

export function recallKind(kind) {
  const [action, carries] = RECALL_KINDS[kind] ?? refuse("malformed_message", "kind");
  return { action, record: carries, done: [DONE[action], 4] };
}

export const recallNotice = message("recall-notice", checked(record([
  ["federation", federation], ["recall_id", fixed(16)], ["owner", node], ["recipient", node], ["request_id", fixed(16)], ["request_digest", fixed(32)],
  ["kind", code(1, 9)], ["action", code(1, 3)], ["record", aRecord], ["changed", list(fieldName, 128, { order: ofText })],
  ["dispute_status", disputeStatus], ["subject_statement", subjectStatement], ["effective", time], ["issued", time],
]), (value) => {
  const { action, record: carries } = recallKind(value.kind);
  const destroys = action === 1;
  const silent = value.changed.length === 0 && value.subject_statement === "" && value.dispute_status === 1;
  demand(BigInt(value.issued) >= BigInt(value.effective), "malformed_message", "issued before it takes effect");
  demand(value.action === action && (value.record !== "") === carries, "not_canonical", "kind, action, record");
  demand(!destroys || silent, "not_canonical", "says too much");
  if (carries) canonicalRecord.decode(fromHex(value.record));
}));
export const noticeDigest = (body) => H("recall-notice", body);

export const recallAck = message("recall-ack", checked(record([
  ["federation", federation], ["recall_id", fixed(16)], ["notice_digest", fixed(32)], ["recipient", node], ["owner", node], ["done", code(1, 4)],
  ["level", code(1, 2)], ["acted", time], ["issued", time],
]), ({ acted, issued }) => demand(BigInt(issued) >= BigInt(acted), "malformed_message", "issued before it was acted on")));

// 10.1
const ori = identifier("ori");
const names = text(256);
export const MEMBER = [
  ["node", node], ["name", names], ["oris", list(ori, 1000, { order: ofText, least: 1 })], ["tls_subject", names], ["signing_key", signingKey],
  ["disclosure_key", fixed(1216)], ["status", code(1, 2)], ["joined", time], ["answered_from", time],
];
const headParts = {
  read(source) {
    const [body, signature] = tuple([octets(1 << 20), octets(64)]).read(source);
    demand((body === "") === (signature === ""), "not_canonical", "head without signature");
    return body === "" ? null : { body, signature };
  },
  write: (value) => tuple([octets(1 << 20), octets(64)]).write(value === null ? ["", ""] : [value.body, value.signature]),
};
export const serial = where(octets(20), (value) => value !== "" && (value === "00" || !value.startsWith("00")), "not_canonical");
export const bySerial = (value) => Buffer.from(value.padStart(40, "0"), "hex");
export const serials = list(serial, 100000, { order: bySerial });
export const directory = message("directory", record([
  ["federation", federation], ["version", u63], ["issued", time],
  ["members", list(record([...MEMBER, ["head", headParts]]), 2000, { order: named("node") })], ["denied", serials], ["chain_digest", fixed(32)],
]));

// 8.6, 14.8, 14.9, 15.2
export const certificateRequest = message("certificate-request", record([["federation", federation], ["node", node], ["csr", octets(1 << 16)]]));
export const heartbeat = message("heartbeat", checked(record([
  ["federation", federation], ["node", node], ["origin", text(255)], ["number", u63], ["from", u63], ["to", u63], ["received", octets(8192)],
  ["answered", u63], ["refused", u63], ["ledger_number", u63], ["ledger_digest", fixed(32)], ["issued", time],
]), ({ from, to }) => demand(BigInt(from) <= BigInt(to), "malformed_message", "range")));
export const packAdoption = message("pack-adoption", record([
  ["federation", federation], ["node", node], ["pack", text(256)], ["version", u32], ["pack_digest", fixed(32)], ["adopted", time],
]));
export const witnessKey = message("witness-key", record([
  ["federation", federation], ["node", node], ["ed25519_key", fixed(32)], ["ml_dsa_44_key", fixed(1312)], ["issued", time],
]));

// A member's consent to the successor of a shard (19.3).
export const succession = message("succession", record([
  ["federation", federation], ["node", node], ["shard", u32], ["size", u63], ["root", fixed(32)], ["root_certificate", fixed(32)],
  ["ed25519_key", fixed(32)], ["ml_dsa_44_key", fixed(1312)], ["policy", fixed(32)], ["issued", time],
]));

// The bits of a heartbeat for so many commitments (14.8).
export function heartbeatBits(received, count) {
  demand(count <= 65536, "limit_exceeded", "commitments under a heartbeat");
  const bits = fromHex(received);
  demand(bits.length === Math.ceil(count / 8), "not_canonical", "bits");
  const bit = (index) => ((bits[index >> 3] >> (7 - (index & 7))) & 1) === 1;
  for (let index = count; index < 8 * bits.length; index++) demand(!bit(index), "not_canonical", "unused bit");
  return Array.from({ length: count }, (_, index) => bit(index));
}

export { COMMITMENTS };
