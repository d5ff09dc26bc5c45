// Entries of the log, the state, and the rules by which a log is read (protocol.md 14.3 to 14.5).
import { H, as, demand, fromHex, hex, same, u8 as octet, utf8, zeros } from "./octets.mjs";
import { code, federation, fixed, list, message, node, octets, record, text, time, u32Type as u32, u63, u8, where } from "./canonical.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { leafHash, root } from "./merkle.mjs";
import { readPolicy } from "./policy.mjs";
import { MEMBER, bySerial, heartbeat, heartbeatBits, indexHead, packAdoption, segmentsRoot, serial, serials, succession, witnessKey } from "./statements.mjs";

const MOST = 65535;
export const [OPENED, CLOSED, MEMBER_ENTRY, HEAD, DENIED, DIRECTORY, POLICY, RULES, STATEMENT, REQUESTS, RECEIPTS] = Array.from({ length: 11 }, (_, index) => index + 1);
const origin = text(255);
const context = where(text(), (value) => ["witness-key", "heartbeat", "pack-adoption", "succession"].includes(value));
const ruleName = where(text(), (value) => /^[a-z0-9_]+$/.test(value));
const rule = record([["name", ruleName], ["value", u63]]);
const anyOctets = (value) => fromHex(value);
const commitments = {
  read: (source) => inRange(list(fixed(32), 256, { order: anyOctets }).read(source)),
  write: (values) => list(fixed(32), 256, { order: anyOctets }).write(inRange(values)),
};
const inRange = (values) => {
  demand(values.length > 0, "limit_exceeded", "no commitment");
  return values;
};
const policyText = where(octets(60000), (value) => readPolicy(fromHex(value)) !== null);
const octetKeys = ["key_weak", "key_match", "key_code"].map((name) => [name, fixed(32)]);
const memberKeys = MEMBER.map(([name, type]) => [name, name === "signing_key" ? fixed(32) : type]);
const noneOr = where(text(), (value) => value === "" || node.write(value));
const KINDS = {
  [OPENED]: [["federation", federation], ["shard", u32], ["opened", time], ["previous_origin", origin], ["previous_size", u63], ["previous_root", fixed(32)]],
  [CLOSED]: [["closed", time], ["next_origin", origin], ["next_ed25519_key", fixed(32)], ["next_ml_dsa_44_key", fixed(1312)]],
  [MEMBER_ENTRY]: memberKeys,
  [HEAD]: [
    ["node", node], ["sequence", u63], ["epoch", u32], ...octetKeys, ["threshold", u8], ["scheme_version", u8],
    ["segments", u32], ["octets", u63], ["root", fixed(32)], ["issued", time], ["statement", fixed(32)],
  ],
  [DENIED]: [["serial", serial], ["node", noneOr], ["denied", time]],
  [DIRECTORY]: [["version", u63], ["issued", time], ["chain_digest", fixed(32)], ["state", fixed(32)]],
  [POLICY]: [["version", u32], ["issued", time], ["text", policyText]],
  [RULES]: [["stated", time], ["rules", list(rule, 256, { order: ({ name }) => utf8(name) })]],
  [STATEMENT]: [["context", context], ["body", octets(MOST)], ["signature", fixed(64)]],
  [REQUESTS]: [["commitments", commitments]],
  [RECEIPTS]: [["commitments", commitments]],
};
const byKind = Object.fromEntries(Object.entries(KINDS).map(([kind, fields]) => [kind, record(fields)]));
const entryMessage = message("log-entry", {
  read(source) {
    const kind = code(1, 11).read(source);
    return { kind, fields: byKind[kind].read(source) };
  },
  write: ({ kind, fields }) => Buffer.concat([u8.write(kind), byKind[kind].write(fields)]),
});

export function decodeEntry(entry) {
  demand(entry.length <= MOST, "limit_exceeded", "entry");
  return entryMessage.decode(entry);
}

export const encodeEntry = entryMessage.encode;
export const requestCommitment = ({ body, signature }) => H("logged/request", fromHex(body), fromHex(signature));
export const receiptCommitment = (kind, body, signature) => H("logged/receipt", octet(kind), body, signature);

export function headEntry(part) {
  const { federation: _, segments, ...head } = indexHead.decode(fromHex(part.body));
  const total = segments.reduce((sum, segment) => sum + BigInt(segment.octets), 0n);
  const statement = H("logged/index-head", fromHex(part.body), fromHex(part.signature));
  const fields = { ...head, segments: segments.length, octets: String(total), root: hex(segmentsRoot(segments)), statement: hex(statement) };
  return encodeEntry({ kind: HEAD, fields });
}

export function memberEntry(member) {
  return encodeEntry({ kind: MEMBER_ENTRY, fields: member });
}

// 14.4; `nodes` are [node id, hash of the member entry, hash of the head entry or null].
export function directoryState(nodes, denied) {
  const sorted = [...nodes].sort(([one], [other]) => Buffer.compare(utf8(one), utf8(other)));
  const ordered = [...denied].sort((one, other) => Buffer.compare(bySerial(one), bySerial(other)));
  return H("directory-state", ...sorted.map(([, member, head]) => Buffer.concat([member, head ?? zeros(32)])), serials.write(ordered));
}

export function stateOfDirectory({ members, denied }) {
  const hashes = members.map((member) => [member.node, leafHash(memberEntry(member)), member.head && leafHash(headEntry(member.head))]);
  return directoryState(hashes, denied);
}

const inconsistent = (holds, detail) => demand(holds, "log_inconsistent", detail);
const logName = (name, shard) => `${name}/log/${shard}`;

// A shard while it is read. `before` is the shard before it, ended, or null.
class Shard {
  constructor(name, number, before) {
    Object.assign(this, { name, number, before, origin: logName(name, number), leaves: [], states: [], ended: false, commitments: [] });
    Object.assign(this, { members: new Map(), heads: new Map(), denied: new Set(), version: null, policy: null, beats: new Map() });
    Object.assign(this, { witnesses: new Map(), keysSeen: new Map() });
  }

  get root() {
    return root(this.leaves);
  }

  state() {
    const nodes = [...this.members].map(([id, { hash }]) => [id, hash, this.heads.get(id)?.hash ?? null]);
    return directoryState(nodes, this.denied);
  }

  read(entry) {
    const { kind, fields } = as("log_inconsistent", () => decodeEntry(entry));
    const hash = leafHash(entry);
    inconsistent(!this.ended, "behind closed");
    inconsistent((kind === OPENED) === (this.leaves.length === 0), "opened stands first");
    const readers = {
      [OPENED]: this.opened, [CLOSED]: this.closed, [MEMBER_ENTRY]: this.member, [HEAD]: this.head, [DENIED]: this.deny,
      [DIRECTORY]: this.directory, [POLICY]: this.takePolicy, [STATEMENT]: this.statement,
    };
    readers[kind]?.call(this, fields, hash);
    this.commitments.push(kind === REQUESTS ? fields.commitments.length : 0);
    this.leaves.push(hash);
    this.states.push(hex(this.state()));
  }

  opened({ federation: name, shard, previous_origin: origin, previous_size: size, previous_root: last }) {
    inconsistent(name === this.name && shard === this.number, "federation or shard");
    const [end, length, rootBefore] = this.before ? [this.before.origin, this.before.leaves.length, this.before.root] : ["", 0, zeros(32)];
    inconsistent(origin === end && BigInt(size) === BigInt(length) && same(fromHex(last), rootBefore), "end of the shard before");
  }

  closed({ next_origin: next }) {
    inconsistent(next === logName(this.name, this.number + 1), "origin of the next shard");
    this.ended = true;
  }

  member(fields, hash) {
    const known = this.members.get(fields.node)?.fields;
    const fixedNames = ["signing_key", "disclosure_key", "joined"];
    inconsistent(!known || fixedNames.every((name) => known[name] === fields[name]), "member changed");
    this.members.set(fields.node, { fields, hash });
  }

  head(fields, hash) {
    inconsistent(this.members.has(fields.node), "head of no member");
    const last = this.heads.get(fields.node)?.fields;
    if (last) {
      inconsistent(BigInt(fields.sequence) > BigInt(last.sequence) && fields.epoch >= last.epoch, "sequence or epoch");
      const keys = octetKeys.map(([name]) => name);
      inconsistent(fields.epoch > last.epoch || keys.every((name) => fields[name] === last[name]), "keys of the epoch");
    }
    this.heads.set(fields.node, { fields, hash });
  }

  deny({ serial: number }) {
    inconsistent(!this.denied.has(number), "serial twice");
    this.denied.add(number);
  }

  directory({ version, state }) {
    const [stated, last] = [BigInt(version), this.version ?? this.before?.version ?? null];
    const first = this.version === null;
    inconsistent(last === null ? stated !== 0n : stated === (first ? last : last + 1n), "version of the directory");
    inconsistent(state === hex(this.state()), "state");
    inconsistent(!first || !this.before || state === hex(this.before.state()), "state of the shard before");
    this.version = stated;
  }

  takePolicy({ version }) {
    const due = this.policy !== null ? this.policy + 1 : (this.before?.policy ?? 1);
    inconsistent(version === due, "version of the policy");
    this.policy = version;
  }

  statement({ context: name, body, signature }) {
    const types = { "witness-key": witnessKey, heartbeat, "pack-adoption": packAdoption, succession };
    const fields = as("log_inconsistent", () => types[name].decode(fromHex(body)));
    inconsistent(fields.federation === this.name && this.members.has(fields.node), "federation or member");
    const key = this.members.get(fields.node).fields.signing_key;
    as("log_inconsistent", () => verifyStatement(key, name, { body, signature }));
    if (name === "heartbeat") this.beat(fields);
    if (name === "witness-key") this.witnessKey(fields);
  }

  beat(fields) {
    const [from, to, number] = [BigInt(fields.from), BigInt(fields.to), BigInt(fields.number)];
    inconsistent(fields.origin === this.origin && to <= BigInt(this.leaves.length), "range of a heartbeat");
    const last = this.beats.get(fields.node);
    inconsistent(!last || (number === last.number + 1n && from === last.to), "number of a heartbeat");
    const count = this.commitments.slice(Number(from), Number(to)).reduce((sum, one) => sum + one, 0);
    as("log_inconsistent", () => heartbeatBits(fields.received, count));
    this.beats.set(fields.node, { number, to });
  }

  witnessKey(fields) {
    const last = this.witnesses.get(fields.node);
    inconsistent(!last || BigInt(fields.issued) > BigInt(last.issued), "older witness key");
    for (const key of [fields.ed25519_key, fields.ml_dsa_44_key]) {
      inconsistent((this.keysSeen.get(key) ?? fields.node) === fields.node, "key of another");
      this.keysSeen.set(key, fields.node);
    }
    this.witnesses.set(fields.node, fields);
  }
}

export function foldLog(name, shards) {
  const read = [];
  for (const [index, entries] of shards.entries()) {
    const before = read.at(-1) ?? null;
    inconsistent(before === null || before.ended, "the shard before goes on");
    const shard = new Shard(name, index + 1, before);
    entries.forEach((entry) => shard.read(entry));
    read.push(shard);
  }
  return read;
}

export { DIRECTORY as DIRECTORY_ENTRY };
