// Whether a shard is the successor of one that was not closed, for those who were not asked (protocol.md 19.2, 19.5).
import { createHash } from "node:crypto";
import { demand, fromHex, hex } from "./octets.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { DIRECTORY, MEMBER_ENTRY, OPENED, POLICY, STATEMENT, decodeEntry } from "./entries.mjs";
import { readPolicy } from "./policy.mjs";
import { succession } from "./statements.mjs";

const ACTIVE = 1;
const malformed = (holds, detail) => demand(holds, "malformed_message", detail);
const verifies = (key, part) => {
  try {
    verifyStatement(key, "succession", part);
    return true;
  } catch {
    return false;
  }
};

export function judge({ federation, shard, size, root, members, entries }) {
  const read = entries.map((entry) => decodeEntry(fromHex(entry)));
  const end = read.findIndex(({ kind }) => kind === DIRECTORY);
  malformed(end >= 0, "no directory is repeated");
  const begun = read.slice(0, end);
  const [first, policy] = [read[0], begun.find(({ kind }) => kind === POLICY)];
  malformed(first?.kind === OPENED && policy, "no beginning of a shard");
  const { fields: opened } = first;
  malformed(opened.federation === federation && opened.shard === shard + 1, "another shard");
  malformed(opened.previous_origin === `${federation}/log/${shard}`, "another log");
  const text = fromHex(policy.fields.text);
  const named = readPolicy(text).logs.map(({ key }) => key).filter(({ name }) => name === `${federation}/log/${shard + 1}`);
  const [ed25519, mlDsa] = [1, 6].map((kind) => named.find((key) => key.kind === kind));
  malformed(ed25519 && mlDsa, "keys of the shard");
  demand(opened.previous_size === size && opened.previous_root === root, "log_inconsistent", "another head");
  const listed = new Map();
  for (const { kind, fields } of begun) if (kind === MEMBER_ENTRY) listed.set(fields.node, fields.status);
  const active = [...listed].filter(([, status]) => status === ACTIVE).map(([node]) => node);
  const keys = new Map(members.map(({ node, signing_key: key }) => [node, key]));
  const wanted = {
    federation, shard, size, root, ed25519_key: hex(ed25519.key), ml_dsa_44_key: hex(mlDsa.key),
    policy: createHash("sha256").update(text).digest("hex"),
  };
  const found = new Set();
  for (const { kind, fields } of read) {
    if (kind !== STATEMENT || fields.context !== "succession") continue;
    const said = succession.decode(fromHex(fields.body));
    if (!active.includes(said.node) || !keys.has(said.node)) continue;
    if (!Object.entries(wanted).every(([name, value]) => said[name] === value)) continue;
    if (verifies(keys.get(said.node), fields)) found.add(said.node);
  }
  demand(2 * found.size > active.length, "log_unwitnessed", "too few consents");
  return {
    consents: [...found].sort(), active: active.length, ed25519_key: wanted.ed25519_key, ml_dsa_44_key: wanted.ml_dsa_44_key,
    policy_version: policy.fields.version,
  };
}
