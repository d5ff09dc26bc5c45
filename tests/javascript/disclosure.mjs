// What the parties of a disclosure and of a recall check, and what a receiver takes from a directory (protocol.md 9, 10.2).
import { demand, fromHex, refusalOf, same, sha256 } from "./octets.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { checkTimes } from "./lookup.mjs";
import { canonicalRecord, directory, disclosureRequest, disclosureResponse, indexHead, recallAck, recallKind, recallNotice, recordCommitment, requestDigest } from "./statements.mjs";
import { unseal } from "./sealing.mjs";

export const commitmentOf = (salt, octets) => sha256(recordCommitment(salt, octets));

export function openCommitment(commitment, salt, octets) {
  demand(same(commitmentOf(salt, octets), commitment), "commitment_mismatch");
  return canonicalRecord.decode(octets);
}

export function openRequest(given) {
  const envelope = { federation: given.federation, kind: "disclosure-request", envelopeId: fromHex(given.request_id), sender: given.sender, recipient: given.owner, binding: Buffer.alloc(0) };
  const part = unseal(fromHex(given.private_key), envelope, fromHex(given.sealed));
  verifyStatement(given.sender_key, "disclosure-request", part);
  const fields = disclosureRequest.decode(fromHex(part.body));
  const right = fields.requester === given.sender && fields.request_id === given.request_id && fields.federation === given.federation;
  demand(right, "identity_mismatch");
  demand(fields.owner === given.owner, "wrong_recipient");
  checkTimes(fields, BigInt(given.now));
  return requestDigest(fromHex(part.body));
}

// 9.5: the response of `part` to the request of this body; the record, or null.
export function checkResponse(part, key, requestBody) {
  const request = disclosureRequest.decode(requestBody);
  verifyStatement(key, "disclosure-response", part);
  const fields = disclosureResponse.decode(fromHex(part.body));
  const parties = fields.federation === request.federation && fields.owner === request.owner && fields.requester === request.requester;
  demand(parties && fields.request_id === request.request_id, "identity_mismatch");
  demand(same(fromHex(fields.request_digest), requestDigest(requestBody)), "commitment_mismatch", "request digest");
  const opened = () => openCommitment(fromHex(request.commitment), fromHex(fields.salt), fromHex(fields.record));
  return { fields, record: fields.outcome === 1 ? opened() : null };
}

export function openResponse(given) {
  const body = fromHex(given.request_body);
  const request = disclosureRequest.decode(body);
  const envelope = {
    federation: request.federation, kind: "disclosure-response", envelopeId: fromHex(request.request_id), sender: request.owner,
    recipient: request.requester, binding: requestDigest(body),
  };
  const part = unseal(fromHex(given.reply_private_key), envelope, fromHex(given.sealed));
  const { fields, record } = checkResponse(part, given.owner_key, body);
  return { outcome: fields.outcome, record };
}

export function openRecall(given) {
  const envelope = { federation: given.federation, kind: given.what, envelopeId: fromHex(given.envelope_id), sender: given.sender, recipient: given.own, binding: Buffer.alloc(0) };
  const part = unseal(fromHex(given.private_key), envelope, fromHex(given.sealed));
  verifyStatement(given.sender_key, given.what, part);
  const isNotice = given.what === "recall-notice";
  const fields = (isNotice ? recallNotice : recallAck).decode(fromHex(part.body));
  const [from, to] = isNotice ? [fields.owner, fields.recipient] : [fields.recipient, fields.owner];
  demand(from === given.sender && fields.federation === given.federation, "identity_mismatch");
  demand(to === given.own, "wrong_recipient");
  checkTimes({ issued: fields.issued }, BigInt(given.now));
  return part.body;
}

export function checkRecallAck(body, recipient, noticeDigest, kind) {
  const fields = recallAck.decode(body);
  demand(fields.recipient === recipient, "identity_mismatch");
  demand(fields.notice_digest === noticeDigest, "commitment_mismatch");
  demand(recallKind(kind).done.includes(fields.done), "malformed_message", "done");
}

export function verifyHead(part, key, federation, node) {
  verifyStatement(key, "index-head", part);
  const fields = indexHead.decode(fromHex(part.body));
  demand(fields.federation === federation && fields.node === node, "identity_mismatch");
  return fields;
}

// 10.2: whether a head may follow the one seen last of its node.
export function checkProgress(body, seen) {
  if (seen === null) return;
  const [now, before] = [indexHead.decode(body), indexHead.decode(seen)].map(({ sequence }) => BigInt(sequence));
  demand(now > before || same(body, seen), "rollback");
}

export function verifyDirectory({ directory: part, directory_key: key, chain_digest: chain, federation, now, seen }) {
  verifyStatement(key, "directory", part);
  const fields = directory.decode(fromHex(part.body));
  demand(fields.federation === federation && fields.chain_digest === chain, "identity_mismatch");
  checkTimes({ issued: fields.issued }, BigInt(now));
  if (seen !== null) {
    const [version, last] = [BigInt(fields.version), BigInt(seen.version)];
    demand(version >= last && (version > last || seen.body === null || seen.body === part.body), "rollback");
  }
  const lastHead = (node) => seen?.heads.find((body) => indexHead.decode(fromHex(body)).node === node) ?? null;
  const taken = { active: [], heads: [], head_troubles: [], key_troubles: [] };
  for (const member of fields.members) {
    const pinned = seen?.keys.find(({ node }) => node === member.node) ?? member;
    const keysKept = pinned.signing_key === member.signing_key && pinned.disclosure_key === member.disclosure_key;
    if (!keysKept) taken.key_troubles.push({ node: member.node, code: "key_mismatch" });
    if (member.status === 1) taken.active.push(member.node);
    if (member.head === null) continue;
    const last = lastHead(member.node);
    const trouble = refusalOf(() => {
      verifyHead(member.head, pinned.signing_key, federation, member.node);
      checkProgress(fromHex(member.head.body), last && fromHex(last));
    });
    if (trouble === null) taken.heads.push(member.node);
    else taken.head_troubles.push({ node: member.node, code: trouble });
  }
  return taken;
}
