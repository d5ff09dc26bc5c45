// Witness policies (C2SP tlog-policy; protocol.md 15.4, 15.5). Octets of a policy are read as Latin-1, names shown as UTF-8.
import { as, demand, refuse, same } from "./octets.mjs";
import { checkIdentifier } from "./identifiers.mjs";
import { ED25519, ED25519_COSIGNATURE, isOf, ML_DSA_44, readVkey, verifyLog, verifySignature, vkeyText } from "./note.mjs";

const MOST_OCTETS = 60000;
const MOST = 64;
const MOST_MEMBERS = 24;
const TOLERANCE = 300n;
const malformed = (holds, detail) => demand(holds, "malformed_message", detail);
const shown = (name) => Buffer.from(name, "latin1").toString("utf8");

function key(text, kinds, others) {
  const read = as("malformed_message", () => readVkey(shown(text)));
  malformed(kinds.includes(read.kind), "type of a key");
  malformed(!others.some((other) => same(other.key.key, read.key)), "a key twice");
  return read;
}

export function readPolicy(octets) {
  demand(octets.length <= MOST_OCTETS, "limit_exceeded", "policy");
  const text = Buffer.from(octets).toString("latin1");
  malformed(text.endsWith("\n") && !/[^\t\n\x20-\x7e\x80-\xff]/.test(text), "characters");
  const policy = { logs: [], witnesses: [], groups: [], quorum: null };
  const names = new Set();
  const members = new Set();
  const name = (word) => {
    malformed(word !== undefined && word !== "none" && !names.has(word), "name");
    names.add(word);
    return word;
  };
  for (const line of text.slice(0, -1).split("\n")) {
    const [word, ...items] = line.split(/[ \t]+/).filter((item) => item !== "");
    if (word === undefined || word.startsWith("#")) continue;
    if (word === "log") {
      malformed(items.length === 1 || items.length === 2, "log");
      policy.logs.push({ key: key(items[0], [ED25519, ML_DSA_44], policy.logs), url: items[1] ?? "" });
    } else if (word === "witness") {
      malformed(items.length === 2 || items.length === 3, "witness");
      const read = key(items[1], [ED25519_COSIGNATURE, ML_DSA_44], policy.witnesses);
      policy.witnesses.push({ name: name(items[0]), key: read, url: items[2] ?? "" });
    } else if (word === "group") {
      const [, count, ...listed] = items;
      malformed(listed.length > 0 && listed.every((item) => names.has(item) && !members.has(item)), "group");
      malformed(new Set(listed).size === listed.length, "member twice");
      malformed(["any", "all"].includes(count) || /^[1-9][0-9]*$/.test(count), "threshold");
      const threshold = { any: 1, all: listed.length }[count] ?? Number(count);
      malformed(threshold <= listed.length, "threshold");
      listed.forEach((item) => members.add(item));
      policy.groups.push({ name: name(items[0]), threshold, members: listed });
    } else if (word === "quorum") {
      malformed(items.length === 1 && policy.quorum === null && (items[0] === "none" || names.has(items[0])), "quorum");
      policy.quorum = items[0];
    } else {
      refuse("malformed_message", "word");
    }
    for (const list of [policy.logs, policy.witnesses, policy.groups]) demand(list.length <= MOST, "limit_exceeded");
  }
  malformed(policy.quorum !== null, "no quorum");
  return policy;
}

export const shownPolicy = (policy) => ({
  logs: policy.logs.map((log) => ({ vkey: vkeyText(log.key), url: shown(log.url) })),
  witnesses: policy.witnesses.map((one) => ({ name: shown(one.name), vkey: vkeyText(one.key), url: shown(one.url) })),
  groups: policy.groups.map((group) => ({ ...group, name: shown(group.name), members: group.members.map(shown) })),
  quorum: shown(policy.quorum),
});

export function hasQuorum(policy, names) {
  if (policy.quorum === "none") return true;
  const given = (name) => {
    const group = policy.groups.find((one) => one.name === name);
    if (group === undefined) return names.has(name);
    return group.members.filter(given).length >= group.threshold;
  };
  return given(policy.quorum);
}

// The latest second t such that cosignatures of time >= t make the quorum. `cosigned` is [name, seconds].
function latest(policy, cosigned) {
  const times = [...new Set(cosigned.map(([, seconds]) => seconds))].sort((a, b) => (a < b ? 1 : -1));
  const of = (time) => new Set(cosigned.filter(([, seconds]) => seconds >= time).map(([name]) => name));
  return times.find((time) => hasQuorum(policy, of(time))) ?? refuse("log_unwitnessed");
}

const witnessOf = (policy, signature) => policy.witnesses.find((witness) => isOf(signature, witness.key));

// Each cosignature that the policy knows, verified: [name, seconds, name of the key].
export function cosignatures(policy, checkpoint) {
  return checkpoint.signatures.slice(2).flatMap((signature) => {
    const witness = witnessOf(policy, signature);
    return witness === undefined ? [] : [[witness.name, verifySignature(witness.key, checkpoint, signature), witness.key.name]];
  });
}

export const verifyLogs = (policy, checkpoint) => verifyLog(checkpoint, policy.logs.map((log) => log.key));

// 15.5; `now` in milliseconds, the answer in seconds.
export function timeOfWitness(policy, checkpoint, now) {
  const signed = verifyLogs(policy, checkpoint);
  const inTime = (seconds) => seconds <= now / 1000n + TOLERANCE;
  const cosigned = cosignatures(policy, checkpoint).filter(([, seconds]) => inTime(seconds));
  if (policy.quorum !== "none") return latest(policy, cosigned);
  return inTime(signed) ? signed : refuse("log_unwitnessed");
}

// 16.1: behind the log's signatures only known ones, in order of key name and key id.
export function checkOrder(policy, checkpoint) {
  const rest = checkpoint.signatures.slice(2);
  demand(rest.every((signature) => witnessOf(policy, signature)), "not_canonical", "unknown signature");
  const octets = (signature) => [Buffer.from(signature.name), signature.keyId];
  for (let index = 1; index < rest.length; index++) {
    const [[name, id], [nextName, nextId]] = [octets(rest[index - 1]), octets(rest[index])];
    const order = Buffer.compare(name, nextName) || Buffer.compare(id, nextId);
    demand(order < 0, "not_canonical", "order of signatures");
  }
}

export function hubPolicy({ logs, members, outside, threshold }) {
  const keys = logs.map(readVkey);
  malformed(keys.length > 0 && keys.length % 2 === 0, "log lines");
  for (let index = 0; index < keys.length; index += 2) {
    const [one, other] = keys.slice(index, index + 2);
    malformed(one.name === other.name && one.kind === ED25519 && other.kind === ML_DSA_44, "log lines");
  }
  const lines = logs.map((vkey) => `log ${vkey}`);
  const chosen = members.slice(0, MOST_MEMBERS).sort((a, b) => (a.node < b.node ? -1 : 1));
  chosen.forEach(({ node }) => checkIdentifier("node", node));
  lines.push(...chosen.map(({ node, vkey }) => `witness member/${node} ${vkey}`));
  const groups = [];
  if (chosen.length >= 3) {
    const names = chosen.map(({ node }) => `member/${node}`).join(" ");
    lines.push(`group members ${Math.floor(chosen.length / 2) + 1} ${names}`);
    groups.push("members");
  }
  for (const { name, vkey, url } of outside) {
    malformed(!["none", "members", "outside", "both"].includes(name) && !name.startsWith("member/"), "name of a witness");
    lines.push(`witness ${name} ${vkey} ${url}`);
  }
  if (threshold > 0) {
    lines.push(`group outside ${threshold} ${outside.map(({ name }) => name).join(" ")}`);
    groups.push("outside");
  }
  if (groups.length === 2) lines.push("group both all members outside");
  lines.push(`quorum ${groups.length === 2 ? "both" : (groups[0] ?? "none")}`);
  const text = lines.join("\n") + "\n";
  readPolicy(Buffer.from(text));
  return text;
}
