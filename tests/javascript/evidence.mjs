// Evidence (protocol.md 17): each kind's keys and what must follow from them.
import { X509Certificate } from "node:crypto";
import { H, demand, fromHex, refusalOf, refuse, same } from "./octets.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { commitmentOf, verifyHead } from "./disclosure.mjs";
import { REQUESTS, STATEMENT, decodeEntry, requestCommitment, stateOfDirectory } from "./entries.mjs";
import { Log, checkpoint, constant, keyName, list, logged, named, object, octets, orNull, part, whole } from "./file.mjs";
import { belongs, verifyProofs } from "./lookup.mjs";
import { leafHash, rootBehind, verifyConsistency } from "./merkle.mjs";
import { checkOrder, cosignatures, verifyLogs } from "./policy.mjs";
import { blobIn, commits, entryIn, entryKeys, openBlob, openEntry, readSegment, segmentAddress } from "./segment.mjs";
import { octetsOf, polynomial, share } from "./shares.mjs";
import { answer, directory, disclosureRequest, disclosureResponse, heartbeat, lookup, requestDigest } from "./statements.mjs";

const node = named("node");
const follows = (holds, detail) => demand(holds, "not_evidence", detail);
const identity = (holds, detail) => demand(holds, "identity_mismatch", detail);
const TEN_MINUTES = 600000n;
const owner = { accused: node, owner_member: logged };
const exchange = { ...owner, lookup: part, answer: part, asker_member: logged };
const ofHead = { ...owner, head: part };
const ofSegment = { ...ofHead, segment: octets() };
const hub = { accused: constant("hub") };
const two = (form) => ({ first: form, second: form });
const blobAndSecret = { blob: octets(16), secret: octets(16) };
const outputAndCounter = { output: octets(64), counter: whole };

// The parts of a file as it is being verified: `file`, the log, the policy, the root certificate.
class Case {
  constructor(file, policy, root, now) {
    Object.assign(this, { file, policy, root, log: new Log(file.federation, policy, now) });
  }

  ownerKey() {
    return this.log.memberKey(this.file.owner_member, this.file.accused);
  }

  lookup(shown = this.file.lookup, accused = null) {
    const fields = lookup.decode(fromHex(shown.body));
    identity(fields.federation === this.file.federation && (accused ?? fields.asker) === fields.asker, "lookup");
    verifyStatement(this.log.memberKey(this.file.asker_member, fields.asker), "lookup", shown);
    return fields;
  }

  answer(asked, key) {
    verifyStatement(key, "answer", this.file.answer);
    const fields = answer.decode(fromHex(this.file.answer.body));
    belongs(asked, fromHex(this.file.lookup.body), fields, this.file.accused);
    return fields;
  }

  head(key = this.ownerKey(), shown = this.file.head) {
    return verifyHead(shown, key, this.file.federation, this.file.accused);
  }

  // A segment that the head names and that reads as one of it.
  segment(head, shown) {
    const bytes = fromHex(shown);
    const named = head.segments.find(({ address }) => same(fromHex(address), segmentAddress(bytes)));
    follows(named && named.octets === bytes.length, "segment not named");
    follows(refusalOf(() => readSegment(bytes)) === null, "no segment");
    const read = readSegment(bytes);
    const right = read.head.federation === head.federation && read.head.node === head.node && read.head.epoch === head.epoch;
    follows(right && read.head.number === named.number, "another segment");
    return read;
  }

  blob(segment) {
    const blob = blobIn(segment, fromHex(this.file.blob));
    follows(blob !== null && commits(fromHex(this.file.secret), segment.place, blob), "blob or secret");
    return blob;
  }

  openedBlob(segment) {
    const blob = this.blob(segment);
    follows(refusalOf(() => openBlob(fromHex(this.file.secret), segment.place, blob)) === null, "does not open");
    return openBlob(fromHex(this.file.secret), segment.place, blob);
  }

  // The entry under the tag of the output and counter, and where it lies.
  entry(segment) {
    const [output, place] = [fromHex(this.file.output), { ...segment.place, counter: this.file.counter }];
    demand(this.file.counter < 256, "malformed_message", "counter");
    const entry = entryIn(segment, entryKeys(output, place).tag);
    follows(entry !== null, "no such entry");
    return () => openEntry(output, place, entry);
  }

  checkpoints() {
    const { first, second } = this.file;
    const times = [first, second].map((shown) => {
      const signed = verifyLogs(this.policy, shown);
      checkOrder(this.policy, shown);
      this.log.checkOrigin(shown.origin);
      return { signed, cosigned: cosignatures(this.policy, shown) };
    });
    follows(first.origin === second.origin, "two logs");
    return times;
  }

  // Directories signed under the federation's root, in a chain as of their time.
  directories(...parts) {
    const chain = this.file.chain.map(fromHex);
    return parts.map((shown) => {
      const fields = directory.decode(fromHex(shown.body));
      identity(fields.federation === this.file.federation, "federation");
      const key = directoryKey(chain, this.root, this.file.federation, Number(fields.issued));
      identity(same(fromHex(fields.chain_digest), H("certificate-chain", ...chain)), "chain digest");
      verifyStatement(key, "directory", shown);
      return fields;
    });
  }
}

function directoryKey(chain, root, federation, time) {
  const refused = (holds) => demand(holds, "certificate_refused");
  refused(root !== null && chain.length > 0);
  let certificates;
  try {
    certificates = [...chain, root].map((one) => new X509Certificate(one));
  } catch {
    refuse("certificate_refused");
  }
  certificates.forEach((one, index) => {
    const issuer = certificates[index + 1] ?? one;
    refused(one.checkIssued(issuer) && one.verify(issuer.publicKey) && one.ca === index > 0);
    refused(Date.parse(one.validFrom) <= time && time <= Date.parse(one.validTo));
  });
  refused(certificates[0].subjectAltName === `URI:spiffe://${federation}/hub/directory`);
  const spki = certificates[0].publicKey.export({ format: "der", type: "spki" });
  refused(spki.length === 44);
  return spki.subarray(12).toString("hex");
}

const headKeys = (head) => [head.key_weak, head.key_match, head.key_code].join();
const clashes = (one, other) =>
  (one.sequence === other.sequence && "sequence") || (one.epoch === other.epoch && headKeys(one) !== headKeys(other)) ||
  (BigInt(one.sequence) > BigInt(other.sequence) ? one.epoch < other.epoch : other.epoch < one.epoch);

const KINDS = {
  "wrong-key": [{ ...exchange, head: part, head_logged: logged }, (it) => {
    const asked = it.lookup();
    const key = it.ownerKey();
    const answered = it.answer(asked, key);
    const head = it.head(key);
    it.log.head(it.file.head_logged, it.file.head);
    follows(answered.status === 1 && answered.persons > 0 && answered.epoch === head.epoch, "not evaluated under the head");
    follows(refusalOf(() => verifyProofs(asked, answered, head)) !== null, "every proof verifies");
  }],
  "wrong-epoch": [exchange, (it) => {
    const asked = it.lookup();
    const answered = it.answer(asked, it.ownerKey());
    const target = asked.targets.find((one) => one.node === it.file.accused);
    follows(answered.status === 1 && target && target.epoch !== answered.epoch);
  }],
  "two-heads": [{ ...owner, ...two(part) }, (it) => {
    const key = it.ownerKey();
    const [first, second] = [it.file.first, it.file.second].map((shown) => it.head(key, shown));
    follows(it.file.first.body !== it.file.second.body && clashes(first, second));
  }],
  "malformed-segment": [ofSegment, (it) => {
    const head = it.head();
    const bytes = fromHex(it.file.segment);
    const named = head.segments.find(({ address }) => same(fromHex(address), segmentAddress(bytes)));
    follows(named, "not named");
    const read = refusalOf(() => readSegment(bytes)) === null ? readSegment(bytes).head : null;
    const right = read && read.federation === head.federation && read.node === head.node && read.epoch === head.epoch && read.number === named.number;
    follows(!right || bytes.length !== named.octets, "as it should be");
  }],
  "malformed-entry": [{ ...ofSegment, ...outputAndCounter }, (it) => {
    const segment = it.segment(it.head(), it.file.segment);
    follows(refusalOf(it.entry(segment)) !== null, "opens");
  }],
  "malformed-blob": [{ ...ofSegment, ...blobAndSecret }, (it) => {
    const segment = it.segment(it.head(), it.file.segment);
    const blob = it.blob(segment);
    follows(refusalOf(() => openBlob(fromHex(it.file.secret), segment.place, blob)) !== null, "opens");
  }],
  "garbage-shares": [{ ...ofHead, blob_segment: octets(), entry_segment: orNull(octets()), ...blobAndSecret, ...outputAndCounter }, (it) => {
    const head = it.head();
    const ofBlob = it.segment(head, it.file.blob_segment);
    it.openedBlob(ofBlob);
    const open = it.entry(it.file.entry_segment === null ? ofBlob : it.segment(head, it.file.entry_segment));
    follows(refusalOf(open) === null, "entry does not open");
    const { blobId, slots } = open();
    follows(same(blobId, fromHex(it.file.blob)), "entry of another blob");
    const coefficients = polynomial(fromHex(it.file.secret), blobId, head.threshold);
    const positions = Array.from({ length: 32 }, (_, p) => octetsOf(share(coefficients, 1 + 3 * p)));
    follows(!positions.some((one) => same(one, slots[0])), "a share of the secret");
  }],
  phantom: [{ ...ofSegment, ...blobAndSecret, asker_member: logged, request: part, response: part }, (it) => {
    const key = it.ownerKey();
    const head = it.head(key);
    const label = it.openedBlob(it.segment(head, it.file.segment));
    const request = disclosureRequest.decode(fromHex(it.file.request.body));
    identity(request.federation === it.file.federation && request.owner === it.file.accused, "request");
    verifyStatement(it.log.memberKey(it.file.asker_member, request.requester), "disclosure-request", it.file.request);
    verifyStatement(key, "disclosure-response", it.file.response);
    const response = disclosureResponse.decode(fromHex(it.file.response.body));
    const parties = response.federation === request.federation && response.owner === request.owner && response.requester === request.requester;
    identity(parties && response.request_id === request.request_id, "response");
    demand(same(fromHex(response.request_digest), requestDigest(fromHex(it.file.request.body))), "commitment_mismatch");
    follows(label.commitment === request.commitment && label.handle === request.handle && request.epoch === head.epoch, "another blob");
    follows(response.outcome === 1, "nothing released");
    follows(!same(commitmentOf(fromHex(response.salt), fromHex(response.record)), fromHex(request.commitment)), "the right record");
  }],
  "dropped-lookup": [{
    ...hub, owner: node, lookup: part, asker_member: logged, owner_member: logged, request_logged: logged, heartbeat_logged: logged,
    prefix: list(octets(32)), entries: list(octets()), consistency: list(octets(32)),
  }, (it) => {
    const asked = it.lookup();
    follows(asked.targets.some((one) => one.node === it.file.owner), "no target");
    const key = it.log.memberKey(it.file.owner_member, it.file.owner);
    const place = it.log.commitment(it.file.request_logged, REQUESTS, requestCommitment(it.file.lookup));
    const statement = it.log.entry(it.file.heartbeat_logged, STATEMENT);
    demand(statement.context === "heartbeat", "malformed_message", "context");
    verifyStatement(key, "heartbeat", statement);
    const beat = heartbeat.decode(fromHex(statement.body));
    identity(beat.node === it.file.owner && beat.federation === it.file.federation, "heartbeat");
    const { index, checkpoint: seen } = it.file.request_logged.proof;
    identity(beat.origin === seen.origin && it.file.heartbeat_logged.proof.checkpoint.origin === seen.origin, "another shard");
    const [from, to] = [BigInt(beat.from), BigInt(beat.to)];
    follows(from <= index && index < to && BigInt(beat.issued) + TEN_MINUTES <= BigInt(asked.expires), "range or time");
    const entries = it.file.entries.map(fromHex);
    demand(BigInt(entries.length) === index - from, "malformed_message", "entries of the range");
    const leaves = [...entries, fromHex(it.file.request_logged.entry)].map(leafHash);
    const root = rootBehind(it.file.prefix.map(fromHex), from, leaves);
    verifyConsistency(index + 1n, seen.size, it.file.consistency.map(fromHex), root, seen.root);
    const counts = entries.map(decodeEntry).map(({ kind, fields }) => (kind === REQUESTS ? fields.commitments.length : 0));
    const bit = counts.reduce((sum, count) => sum + count, place);
    const octet = fromHex(beat.received)[bit >> 3];
    follows(octet !== undefined && ((octet >> (7 - (bit & 7))) & 1) === 0, "received");
  }],
  "forked-log": [{ ...hub, ...two(checkpoint), proof: list(octets(32)), prefix_root: octets(32) }, (it) => {
    it.checkpoints();
    const { first, second, proof } = it.file;
    const prefix = fromHex(it.file.prefix_root);
    follows(first.size > 0n && first.size <= second.size, "sizes");
    verifyConsistency(first.size, second.size, proof.map(fromHex), prefix, second.root);
    follows(!same(prefix, first.root), "one log");
  }],
  "rolled-back-log": [{ ...hub, ...two(checkpoint) }, (it) => {
    const [first, second] = it.checkpoints();
    follows(it.file.first.size > it.file.second.size && first.signed < second.signed, "it grew");
  }],
  "false-directory": [{ ...hub, directory: part, chain: list(octets()), directory_logged: logged }, (it) => {
    const [shown] = it.directories(it.file.directory);
    const stated = it.log.directory(it.file.directory_logged);
    follows(stated.version === shown.version, "another version");
    const state = stateOfDirectory(shown).toString("hex");
    follows(stated.state !== state || stated.issued !== shown.issued || stated.chain_digest !== shown.chain_digest, "as logged");
  }],
  "two-directories": [{ ...hub, ...two(part), chain: list(octets()) }, (it) => {
    const [first, second] = it.directories(it.file.first, it.file.second);
    follows(first.version === second.version && it.file.first.body !== it.file.second.body);
  }],
  "two-lookups": [{ accused: node, ...two(part), asker_member: logged }, (it) => {
    const [first, second] = [it.file.first, it.file.second].map((shown) => it.lookup(shown, it.file.accused));
    follows(first.lookup_id === second.lookup_id && it.file.first.body !== it.file.second.body);
  }],
  "two-cosignatures": [{ accused: keyName, ...two(checkpoint) }, (it) => {
    const both = it.checkpoints();
    const { first, second, accused } = it.file;
    follows(both.every(({ cosigned }) => cosigned.some(([, , name]) => name === accused)), "not cosigned by it");
    follows(first.size === second.size && !same(first.root, second.root), "one head");
  }],
};

export function verifyEvidence(value, policy, root, now) {
  const [forms, verify] = Object.hasOwn(KINDS, value.kind) ? KINDS[value.kind] : refuse("malformed_message", "kind");
  const form = object({ format: constant("candor-evidence/1"), kind: constant(value.kind), federation: named("federation"), ...forms });
  const file = form(value);
  verify(new Case(file, policy, root, now));
  return { kind: file.kind, accused: file.accused };
}
