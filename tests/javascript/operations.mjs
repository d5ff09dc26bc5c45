// What the README of the vectors says each operation takes and gives. `run` gives what is expected; `back`, of a
// two-way operation, gives what was given, from what is expected.
import { H, KDF, concat, demand, domainLabel, fromHex, hex, lengthAndText, number, refuse, u32, u8 } from "./octets.mjs";
import { certificateName, checkIdentifier, readCertificateName } from "./identifiers.mjs";
import { message, tuple, typeNamed } from "./canonical.mjs";
import * as ed25519 from "./ed25519.mjs";
import * as voprf from "./voprf.mjs";
import * as shares from "./shares.mjs";
import * as segments from "./segment.mjs";
import * as statements from "./statements.mjs";
import * as lookups from "./lookup.mjs";
import * as disclosure from "./disclosure.mjs";
import * as rules from "./rules.mjs";
import * as merkle from "./merkle.mjs";
import * as notes from "./note.mjs";
import * as policies from "./policy.mjs";
import * as witness from "./witness.mjs";
import * as entries from "./entries.mjs";
import * as sealing from "./sealing.mjs";
import { readFile, writeFile } from "./file.mjs";
import { verifyReceipt } from "./receipt.mjs";
import { verifyEvidence } from "./evidence.mjs";
import * as opening from "./opening.mjs";
import { judge as judgeSuccession } from "./succession.mjs";
import { checkElement, readScalar } from "./ristretto.mjs";

const o = fromHex;
const all = (octets) => octets.map(fromHex);
const hexes = (octets) => octets.map(hex);
const nothing = (work) => (given) => {
  work(given);
  return {};
};
const inHex = (value) => Object.fromEntries(Object.entries(value).map(([name, octets]) => [name, hex(octets)]));
const policyOf = (given) => policies.readPolicy(o(given.policy));
const fileOf = (given) => readFile(Buffer.from(writeFile(given.file)));
const leavesOf = (given) => all(given.entries).map(merkle.leafHash);
const headOf = ({ origin, size, root }) => ({ origin, size: BigInt(size), root: o(root) });
const shownCheckpoint = ({ origin, size, root, signatures }) => ({ origin, size: String(size), root: hex(root), signatures: signatures.map(notes.shownSignature) });
const shownProof = (first, { hashes, checkpoint }) => ({ ...first, hashes: hexes(hashes), checkpoint: notes.signedText(checkpoint) });
const parts = (expect) => ({ hashes: all(expect.hashes), checkpoint: notes.readCheckpoint(Buffer.from(expect.checkpoint)) });
const classNumber = (name) => 1 + statements.CLASSES.indexOf(name);
const generic = ({ label, types }) => message(label, tuple(types.map(typeNamed)));

// encode-<name> and decode-<name> of a message.
const coder = (name, type, digests = {}, field = "body") => ({
  [`encode-${name}`]: {
    run(given) {
      const body = type.encode(given);
      return { [field]: hex(body), ...Object.fromEntries(Object.entries(digests).map(([key, of]) => [key, hex(of(body, given))])) };
    },
    back: (expect) => type.decode(o(expect[field])),
  },
  [`decode-${name}`]: { run: (given) => type.decode(o(given[field])) },
});

const canonical = {
  identifier: nothing(({ kind, text }) => checkIdentifier(kind, text)),
  "certificate-name": { run: (given) => ({ uri: certificateName(given.federation, given.role, given.id) }), back: ({ uri }) => readCertificateName(uri) },
  "read-certificate-name": ({ uri }) => ({ name: readCertificateName(uri) }),
  encode: {
    run: (given) => ({ octets: hex(generic(given).encode(given.values)) }),
    back: (expect, given) => ({ values: generic(given).decode(o(expect.octets)) }),
  },
  decode: (given) => ({ values: generic(given).decode(o(given.octets)) }),
  "domain-label": ({ label }) => ({ octets: hex(domainLabel(label)) }),
  hash: (given) => ({ digest: hex(H(given.label, ...all(given.parts))) }),
  kdf: (given) => ({ output: hex(KDF(o(given.ikm), given.label, o(given.info), given.octets)) }),
  sign: ({ seed, context, body }) => ({
    public_key: hex(ed25519.publicKey(o(seed))), signed: hex(ed25519.signedOctets(context, o(body))),
    signature: ed25519.signStatement(o(seed), context, o(body)).signature,
  }),
  verify: nothing((given) => ed25519.verifyStatement(given.public_key, given.context, given)),
  "certificate-request": ({ seed, ...given }) => ed25519.signStatement(o(seed), "certificate-request", statements.certificateRequest.encode(given)),
};

const sealed = {
  "disclosure-key": (given) => ({ public_key: hex(sealing.publicKeyOf(o(given.private_key))) }),
  "disclosure-public-key": nothing((given) => sealing.checkDisclosureKey(o(given.public_key))),
  "seal-info": (given) => ({ info: hex(sealing.sealInfo({ ...given, envelopeId: o(given.envelope_id), binding: o(given.binding) })) }),
  unseal(given) {
    const opened = sealing.unseal(o(given.private_key), { ...given, envelopeId: o(given.envelope_id), binding: o(given.binding) }, o(given.sealed));
    return { ...sealing.shownSecrets(opened), body: opened.body, signature: opened.signature };
  },
};

const curve = {
  element: nothing((given) => checkElement(o(given.octets))),
  scalar: nothing((given) => readScalar(o(given.octets))),
  "derive-key-pair": (given) => inHex(voprf.deriveKeyPair(o(given.seed), o(given.info))),
  blind: (given) => ({ element: hex(voprf.blind(o(given.input), o(given.blind))) }),
  evaluate: (given) => ({ output: hex(voprf.evaluate(o(given.secret), o(given.input))) }),
  "blind-evaluate"(given) {
    const { public: key, evaluated, proof } = voprf.blindEvaluate(o(given.secret), all(given.elements), o(given.nonce));
    return { public: hex(key), evaluated: hexes(evaluated), proof: hex(proof) };
  },
  finalize: (given) => ({
    outputs: hexes(voprf.finalize(o(given.public), all(given.inputs), all(given.blinds), all(given.evaluated), o(given.proof))),
  }),
  "epoch-key"(given) {
    demand(given.seed.length === 64, "malformed_message", "seed");
    const info = concat(domainLabel("epoch-key"), lengthAndText(given.federation), lengthAndText(given.node), u32(given.epoch), u8(classNumber(given.class)));
    return { info: hex(info), ...inHex(voprf.deriveKeyPair(o(given.seed), info)) };
  },
  input: (given) => ({ input: hex(lookups.input(given.scheme_version, given.label, given.values)) }),
  filler: (given) => ({ input: hex(lookups.filler(given.scheme_version, o(given.seed), given.class, given.slot)) }),
  plan: (given) => ({ lookups: lookups.plan(given) }),
  "check-plan": nothing((given) => {
    const planned = lookups.plan({ scheme_version: 3, least_lookups: given.number < 3 ? given.number + 1 : 1, ...given })[given.number];
    const right = planned && statements.CLASSES.flatMap((name) => planned[name]).join() === given.inputs.join();
    demand(right, "commitment_mismatch");
  }),
};

const index = {
  "field-product": ({ a, b }) => ({ product: hex(shares.octetsOf(shares.product(number(o(a)), number(o(b))))) }),
  "field-inverse": ({ a }) => ({ inverse: hex(shares.octetsOf(shares.inverse(number(o(a))))) }),
  polynomial: (given) => ({ coefficients: hexes(shares.polynomial(o(given.secret), o(given.blob_id), given.threshold).map(shares.octetsOf)) }),
  share: (given) => ({ share: hex(shares.octetsOf(shares.share(all(given.coefficients).map(number), given.abscissa))) }),
  "label-shares"(given) {
    const made = shares.labelShares(o(given.secret), o(given.blob_id), given.threshold, given.position, given.weight);
    return { shares: made.map(({ abscissa, share }) => ({ abscissa, share: hex(shares.octetsOf(share)) })) };
  },
  interpolate(given) {
    const points = given.shares.map(({ abscissa, share }) => ({ abscissa, share: number(o(share)) }));
    demand(points.every(({ abscissa }) => abscissa > 0), "malformed_message", "abscissa");
    return { secret: hex(shares.octetsOf(shares.interpolate(points, given.threshold))) };
  },
  "entry-keys": (given) => inHex(segments.entryKeys(o(given.output), given)),
  "seal-entry": {
    run: (given) => ({ entry: hex(segments.sealEntry(o(given.output), given, o(given.blob_id), all(given.slots))) }),
    back(expect, given) {
      const { blobId, slots } = segments.openEntry(o(given.output), given, o(expect.entry));
      return { blob_id: hex(blobId), slots: hexes(slots) };
    },
  },
  "open-entry"(given) {
    const { blobId, slots } = segments.openEntry(o(given.output), given, o(given.entry));
    return { blob_id: hex(blobId), slots: hexes(slots) };
  },
  "seal-blob": {
    run(given) {
      const { key, nonce, commitment, blob } = segments.sealBlob(o(given.secret), o(given.blob_id), given, given.label);
      return { key: hex(key), nonce: hex(nonce), key_commitment: hex(commitment), blob: hex(blob) };
    },
    back: (expect, given) => ({ label: segments.openBlob(o(given.secret), given, o(expect.blob)) }),
  },
  "open-blob": (given) => ({ label: segments.openBlob(o(given.secret), given, o(given.blob)) }),
  "field-tag": (given) => ({ tag: hex(segments.fieldTag(o(given.output), o(given.blob_id))) }),
  "withdrawal-marker": (given) => ({ marker: hex(segments.withdrawalMarker(o(given.secret), o(given.blob_id))) }),
  gate(given) {
    const blob = o(given.blob);
    const secret = shares.throughGate(blob.subarray(0, 16), given.threshold, given.hits);
    return { secret: hex(secret), label: segments.openBlob(secret, given, blob) };
  },
  "padded-count": (given) => ({ padded: segments.paddedCount(given.count, given.minimum) }),
  segment(given) {
    const { head, lists } = segments.readSegment(o(given.segment));
    const ends = { first_entry: lists.entries[0], last_entry: lists.entries.at(-1), first_blob: lists.blobs[0], last_marker: lists.markers.at(-1) };
    return { ...head, address: hex(segments.segmentAddress(o(given.segment))), ...inHex(ends) };
  },
  probe(given) {
    const chain = segments.probe(segments.readSegment(o(given.segment)), o(given.output));
    return { entries: chain.map((entry) => entry && { blob_id: hex(entry.blobId), slots: hexes(entry.slots) }) };
  },
  "find-blob"(given) {
    const segment = segments.readSegment(o(given.segment));
    const blob = segments.blobIn(segment, o(given.blob_id));
    return { blob: blob && hex(blob), withdrawn: segment.lists.markers.some((marker) => hex(marker) === given.marker) };
  },
};

const messages = {
  ...coder("index-head", statements.indexHead, { root: (_, given) => statements.segmentsRoot(given.segments) }),
  ...coder("lookup", statements.lookup, { digest: statements.lookupDigest }),
  ...coder("answer", statements.answer),
  ...coder("disclosure-request", statements.disclosureRequest, { digest: statements.requestDigest }),
  ...coder("disclosure-response", statements.disclosureResponse),
  ...coder("record", statements.canonicalRecord, {}, "record"),
  ...coder("recall-notice", statements.recallNotice, { digest: statements.noticeDigest }),
  ...coder("recall-ack", statements.recallAck),
  ...coder("directory", statements.directory),
  ...coder("heartbeat", statements.heartbeat),
  ...coder("pack-adoption", statements.packAdoption),
  ...coder("succession", statements.succession),
  ...coder("witness-key", statements.witnessKey),
  succession: judgeSuccession,
  "head-age": ({ issued, now }) => ({ stale: BigInt(now) - BigInt(issued) > 129600000n }),
  commitment: (given) => ({ commitment: hex(lookups.commitment(given.name, o(given.salt), o(given.value))) }),
  "make-lookup": (given) => ({ lookup: lookups.makeLookup(given) }),
  "accept-lookup": lookups.acceptLookup,
  "check-answer": (given) => ({ status: lookups.checkAnswer(given).status }),
  "take-answer": (given) => ({ outputs: lookups.takeAnswer(given) }),
  "record-commitment": (given) => ({ commitment: hex(disclosure.commitmentOf(o(given.salt), o(given.record))) }),
  "open-commitment": (given) => disclosure.openCommitment(o(given.commitment), o(given.salt), o(given.record)),
  "open-disclosure-request": (given) => ({ digest: hex(disclosure.openRequest(given)) }),
  "open-disclosure-response": disclosure.openResponse,
  "recall-kind": ({ kind }) => statements.recallKind(kind),
  "open-recall": (given) => ({ body: disclosure.openRecall(given) }),
  "check-recall-ack": nothing((given) => disclosure.checkRecallAck(o(given.body), given.recipient, given.notice_digest, given.kind)),
  "head-progress": nothing((given) => disclosure.checkProgress(o(given.body), given.seen && o(given.seen))),
  "verify-index-head": nothing((given) => disclosure.verifyHead(given.head, given.signing_key, given.federation, given.node)),
  "verify-directory": disclosure.verifyDirectory,
  result: (given) => ({ overall: rules.overall(given.targets, given.set_aside) }),
  "state-table"({ machine }) {
    const name = ({ state, event }) => state + "\0" + event;
    return { transitions: [...rules.TABLES[machine]].sort((one, other) => (name(one) < name(other) ? -1 : 1)) };
  },
  "lookup-cost": (given) => rules.lookupCost(given.shape, given.persons),
  "quota-left": (given) => rules.quotaLeft(given.uses, BigInt(given.now)),
  "quota-spend": nothing((given) => rules.spendQuota(given.uses, BigInt(given.now), given.wanted)),
  "error-status": ({ code }) => ({ status: rules.errorStatus(code) }),
};

const trees = {
  "merkle-root"(given) {
    const leaves = leavesOf(given);
    return { leaves: hexes(leaves), root: hex(merkle.root(leaves)), compact: hexes(merkle.compact(leaves)) };
  },
  "inclusion-proof": (given) => ({ proof: hexes(merkle.inclusionProof(leavesOf(given), Number(given.index))) }),
  "consistency-proof": (given) => ({ proof: hexes(merkle.consistencyProof(leavesOf(given), Number(given.first))) }),
  "verify-inclusion": nothing((given) => merkle.verifyInclusion(o(given.leaf), BigInt(given.index), BigInt(given.size), all(given.proof), o(given.root))),
  "verify-consistency": nothing((given) => merkle.verifyConsistency(BigInt(given.first), BigInt(given.second), all(given.proof), o(given.first_root), o(given.second_root))),
  "tile-path": { run: (given) => ({ path: merkle.tilePath(given.level, BigInt(given.index), given.width) }), back: ({ path }) => merkle.readTilePath(path) },
  "read-tile-path": ({ path }) => merkle.readTilePath(path),
  tiles: ({ size }) => ({ tiles: merkle.tiles(BigInt(size)) }),
  "tile-hash"({ tile }) {
    const hashes = Array.from({ length: 256 }, (_, at) => o(tile).subarray(32 * at, 32 * at + 32));
    demand(tile.length === 16384, "malformed_message", "tile");
    return { hash: hex(merkle.root(hashes)) };
  },
  bundle: {
    run: (given) => ({ bundle: hex(merkle.bundle(all(given.entries))) }),
    back: (expect, given) => ({ entries: hexes(merkle.readBundle(o(expect.bundle), given.entries.length)) }),
  },
  "read-bundle": (given) => ({ entries: hexes(merkle.readBundle(o(given.bundle), given.count)) }),
};

const signed = {
  "verifier-key": {
    run(given) {
      const key = notes.verifierKey(given.name, given.kind, o(given.key));
      return { vkey: notes.vkeyText(key), key_id: hex(key.keyId) };
    },
    back: ({ vkey }) => signed["read-verifier-key"]({ vkey }),
  },
  "read-verifier-key"({ vkey }) {
    const { name, kind, key } = notes.readVkey(vkey);
    return { name, kind, key: hex(key) };
  },
  note: {
    run(given) {
      const { text, signatures } = notes.readNote(o(given.note));
      return { text, signatures: signatures.map(notes.shownSignature) };
    },
    back: (expect) => ({ note: hex(Buffer.from(notes.noteText({ ...expect, signatures: expect.signatures.map(notes.signatureShown) }))) }),
  },
  checkpoint: {
    run: (given) => shownCheckpoint(notes.readCheckpoint(o(given.checkpoint))),
    back: (expect) => ({ checkpoint: hex(Buffer.from(notes.signedText({ ...headOf(expect), signatures: expect.signatures.map(notes.signatureShown) }))) }),
  },
  "signed-octets": (given) => ({ octets: hex(notes.signedOctets(given.name, given.kind, headOf(given), given.seconds)) }),
  "signature-line"(given) {
    const key = notes.verifierKey(given.name, given.kind, ed25519.publicKey(o(given.seed)));
    return { line: notes.signatureLine(notes.makeSignature(o(given.seed), key, headOf(given), given.seconds)) };
  },
  "verify-checkpoint-signature"(given) {
    const key = notes.readVkey(given.vkey);
    const checkpoint = notes.readCheckpoint(o(given.checkpoint));
    const signature = checkpoint.signatures.find((one) => notes.isOf(one, key)) ?? refuse("signature_invalid", "missing");
    const seconds = notes.verifySignature(key, checkpoint, signature);
    return { seconds: seconds === null ? null : String(seconds) };
  },
  "verify-log": (given) => ({ seconds: String(notes.verifyLog(notes.readCheckpoint(o(given.checkpoint)), given.vkeys.map(notes.readVkey))) }),
  policy: (given) => policies.shownPolicy(policyOf(given)),
  quorum: (given) => ({ quorum: policies.hasQuorum(policyOf(given), new Set(given.witnesses)) }),
  "hub-policy": (given) => ({ policy: policies.hubPolicy(given) }),
  "time-of-witness": (given) => ({ seconds: String(policies.timeOfWitness(policyOf(given), notes.readCheckpoint(o(given.checkpoint)), BigInt(given.now))) }),
  "log-age"({ time_of_witness: time, now }) {
    const age = BigInt(now) - BigInt(time);
    return { age: age <= 3600000n ? "current" : age <= 86400000n ? "late" : "closed" };
  },
  "witness-request": {
    run(given) {
      const request = witness.readRequest(o(given.request));
      return shownProof({ old_size: String(request.oldSize) }, request);
    },
    back: (expect) => ({ request: hex(Buffer.from(witness.requestText({ oldSize: expect.old_size, ...parts(expect) }))) }),
  },
  witness(given) {
    const latest = given.latest === null ? null : notes.readCheckpoint(o(given.latest));
    return witness.judge(o(given.request), given.origin, given.vkeys.map(notes.readVkey), latest);
  },
  "witness-response"(given) {
    const { signatures, size } = witness.readResponse(given.status, o(given.body));
    return { signatures: signatures.map(notes.shownSignature), size: size === null ? null : String(size) };
  },
  "log-proof": {
    run(given) {
      const proof = witness.readProof(o(given.proof));
      return shownProof({ index: String(proof.index) }, proof);
    },
    back: (expect) => ({ proof: hex(Buffer.from(witness.proofText({ index: expect.index, ...parts(expect) }))) }),
  },
  "verify-log-proof": (given) => ({
    seconds: String(witness.verifyProof(witness.readProof(o(given.proof)), o(given.entry), policyOf(given), BigInt(given.now))),
  }),
};

const log = {
  "encode-log-entry": {
    run(given) {
      const entry = entries.encodeEntry(given);
      return { entry: hex(entry), hash: hex(merkle.leafHash(entry)) };
    },
    back: (expect) => entries.decodeEntry(o(expect.entry)),
  },
  "decode-log-entry": (given) => entries.decodeEntry(o(given.entry)),
  "head-entry": (given) => ({ entry: hex(entries.headEntry(given.head)) }),
  "request-commitment": (given) => ({ commitment: hex(entries.requestCommitment(given.lookup)) }),
  "receipt-commitment": (given) => ({ commitment: hex(entries.receiptCommitment(given.kind, o(given.body), o(given.signature))) }),
  "directory-state"(given) {
    const nodes = given.nodes.map(({ node, member, head }) => [node, merkle.leafHash(o(member)), head && merkle.leafHash(o(head))]);
    return { state: hex(entries.directoryState(nodes, given.denied)) };
  },
  "state-of-directory": (given) => ({ state: hex(entries.stateOfDirectory(statements.directory.decode(o(given.body)))) }),
  "fold-log"(given) {
    const shards = entries.foldLog(given.federation, given.shards.map(all));
    const keys = [...(shards.at(-1)?.witnesses.values() ?? [])].sort((one, other) => (one.node < other.node ? -1 : 1));
    return {
      shards: shards.map((shard) => ({ size: String(shard.leaves.length), root: hex(shard.root), states: shard.states })),
      witness_keys: keys.map(({ node, ed25519_key, issued }) => ({ node, ed25519_key, issued })),
    };
  },
  "heartbeat-bits": (given) => ({ received: statements.heartbeatBits(statements.heartbeat.decode(o(given.body)).received, given.commitments) }),
};

const files = {
  "read-file": (given) => ({ file: readFile(o(given.octets)) }),
  "write-file": (given) => ({ text: writeFile(given.file) }),
  "verify-receipt": (given) => verifyReceipt(fileOf(given), policyOf(given), BigInt(given.now)),
  "verify-evidence": (given) => verifyEvidence(fileOf(given), policyOf(given), given.root && o(given.root), BigInt(given.now)),
  "audit-draw": opening.draw,
  "auditor-key": nothing((given) => opening.checkAuditorKey(fileOf(given))),
  "open-sealed-opening": (given) => ({ text: opening.openSealedOpening(o(given.private_key), fileOf(given)) }),
  "check-opening": (given) => opening.checkOpening(fileOf(given), policyOf(given), BigInt(given.now), given.register),
};

const spelt = { ...canonical, ...sealed, ...curve, ...index, ...messages, ...trees, ...signed, ...log, ...files };

export const OPERATIONS = Object.fromEntries(
  Object.entries(spelt).map(([name, operation]) => [name, typeof operation === "function" ? { run: operation } : operation]),
);
