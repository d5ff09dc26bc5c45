// Receipts of answers and of disclosures (protocol.md 16.4, 16.5).
import { demand, fromHex, refuse } from "./octets.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { checkResponse, verifyHead } from "./disclosure.mjs";
import { RECEIPTS, REQUESTS, receiptCommitment, requestCommitment } from "./entries.mjs";
import { Log, constant, logged, named, object, orNull, part } from "./file.mjs";
import { belongs, verifyProofs } from "./lookup.mjs";
import { answer, disclosureRequest, lookup } from "./statements.mjs";

const ANSWER = 2;
const node = named("node");
const common = { format: constant("candor-receipt/1"), federation: named("federation"), asker: node, owner: node, asker_member: logged, owner_member: logged };
const FORMS = {
  answer: object({ ...common, kind: constant("answer"), lookup: part, answer: part, head: orNull(part), head_logged: orNull(logged), request_logged: logged, receipt_logged: logged }),
  disclosure: object({ ...common, kind: constant("disclosure"), request: part, response: part }),
};

function verifyAnswer(file, log, keys) {
  verifyStatement(keys.asker, "lookup", file.lookup);
  verifyStatement(keys.owner, "answer", file.answer);
  const asked = lookup.decode(fromHex(file.lookup.body));
  const answered = answer.decode(fromHex(file.answer.body));
  const evaluated = answered.status === 1;
  demand((file.head !== null) === evaluated && (file.head_logged !== null) === evaluated, "malformed_message", "head");
  demand(asked.federation === file.federation && asked.asker === file.asker, "identity_mismatch");
  belongs(asked, fromHex(file.lookup.body), answered, file.owner);
  const target = asked.targets.find((one) => one.node === file.owner) ?? refuse("identity_mismatch", "no target");
  if (evaluated) {
    const head = verifyHead(file.head, keys.owner, file.federation, file.owner);
    demand(head.epoch === answered.epoch && target.epoch === answered.epoch, "key_mismatch");
    log.head(file.head_logged, file.head);
    verifyProofs(asked, answered, head);
  }
  log.commitment(file.request_logged, REQUESTS, requestCommitment(file.lookup));
  log.commitment(file.receipt_logged, RECEIPTS, receiptCommitment(ANSWER, fromHex(file.answer.body), fromHex(file.answer.signature)));
  return { kind: "answer", status: answered.status, seconds: String(log.latest) };
}

function verifyDisclosure(file, keys) {
  verifyStatement(keys.asker, "disclosure-request", file.request);
  const request = disclosureRequest.decode(fromHex(file.request.body));
  const right = request.federation === file.federation && request.requester === file.asker && request.owner === file.owner;
  demand(right, "identity_mismatch");
  checkResponse(file.response, keys.owner, fromHex(file.request.body));
  return { kind: "disclosure", status: null, seconds: null };
}

export function verifyReceipt(value, policy, now) {
  const form = Object.hasOwn(FORMS, value.kind) ? FORMS[value.kind] : refuse("malformed_message", "kind");
  const file = form(value);
  const log = new Log(file.federation, policy, now);
  const keys = { asker: log.memberKey(file.asker_member, file.asker), owner: log.memberKey(file.owner_member, file.owner) };
  return file.kind === "answer" ? verifyAnswer(file, log, keys) : verifyDisclosure(file, keys);
}
