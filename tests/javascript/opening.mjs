// Audits by opening: the draw, openings, and the files about them (protocol.md 18).
import { H, demand, fromHex, hex, number, refusalOf, refuse, same, textOf, u16, u32, u64, utf8 } from "./octets.mjs";
import { verifyStatement } from "./ed25519.mjs";
import { REQUESTS, requestCommitment } from "./entries.mjs";
import { Log, constant, list, logged, named, object, octets, part, text, whole } from "./file.mjs";
import { filler, personCommitments, versionOfInput } from "./lookup.mjs";
import { checkpointText } from "./note.mjs";
import { checkDisclosureKey, open, sealInfo } from "./sealing.mjs";
import { CLASSES, COMMITMENTS, SLOTS, lookup } from "./statements.mjs";
import { blind } from "./voprf.mjs";

export function draw({ origin, size, root, from, rate, entries }) {
  const [first, end] = [BigInt(from), BigInt(size)];
  demand(rate >= 100 && rate <= 10000 && first <= end, "malformed_message", "rate or range");
  const seed = H("audit-seed", utf8(checkpointText({ origin, size: end, root: fromHex(root) })), u64(first), u64(end), u32(rate));
  const limit = ((1n << 64n) * BigInt(rate)) / 10000n;
  const drawn = [];
  for (const { index, commitments } of entries) {
    if (BigInt(index) < first || BigInt(index) >= end) continue;
    for (let position = 0; position < commitments; position++) {
      const lot = number(H("audit-draw", seed, u64(index), u16(position)).subarray(0, 8));
      if (lot < limit) drawn.push({ index, position });
    }
  }
  return { seed: hex(seed), drawn };
}

const federation = named("federation");
const node = named("node");
const PARTICULARS = "first middle last suffix former_last birth_date ssn4 sex post_state post_id".split(" ");
const every = (names, form) => object(Object.fromEntries(names.map((name) => [name, form])));
const person = object({
  plan_number: whole, case: text, consent: text, officer: text, salts: every(COMMITMENTS, octets(32)), filler_seed: octets(32),
  particulars: every(PARTICULARS, text), inputs: list(octets()), blinds: list(octets(32)),
});
const opening = object({ format: constant("candor-opening/1"), federation, asker: node, lookup: part, persons: list(person), asker_member: logged, request_logged: logged });
const lookupId = (value) => (/^[0-9a-f]{32}$/.test(text(value)) ? value : refuse("malformed_message", "lookup id"));
const sealedOpening = object({ format: constant("candor-sealed-opening/1"), federation, asker: node, auditor: node, lookup: lookupId, sealed: octets() });
const auditorKey = object({ format: constant("candor-auditor-key/1"), federation, auditor: node, key: octets(1216) });

// 18.3 without the plan: the elements are these inputs under these blinds, and a filler is its slot's. Whether it only fills up.
function explains(shown, commitments, elements, shape) {
  const differs = (holds, detail) => demand(holds, "commitment_mismatch", detail);
  const made = personCommitments(shown);
  differs(COMMITMENTS.every((name) => made[name] === commitments[name]), "commitment");
  const slots = CLASSES.flatMap((name) => Array.from({ length: SLOTS[shape][name] }, (_, slot) => ({ name, slot })));
  differs(shown.inputs.length === slots.length && shown.blinds.length === slots.length, "count");
  let fillers = 0;
  slots.forEach(({ name, slot }, index) => {
    const input = fromHex(shown.inputs[index]);
    differs(refusalOf(() => versionOfInput(input)) === null, "input");
    const right = filler(input[0], fromHex(shown.filler_seed), name, slot);
    if (same(input, right)) fillers++;
    else differs(input.subarray(1, 8).toString("latin1") !== "\x06filler", "filler of another slot");
    const blindOctets = fromHex(shown.blinds[index]);
    const fits = refusalOf(() => differs(same(blind(input, blindOctets), fromHex(elements[index])))) === null;
    differs(fits, "element");
  });
  const known = Object.values(shown.particulars).some((value) => value !== "");
  return !known && fillers === slots.length && shown.case === "" && shown.consent === "" && shown.officer === "";
}

export function checkOpening(value, policy, now, register) {
  const file = opening(value);
  const log = new Log(file.federation, policy, now);
  const fields = lookup.decode(fromHex(file.lookup.body));
  demand(fields.federation === file.federation && fields.asker === file.asker, "identity_mismatch");
  verifyStatement(log.memberKey(file.asker_member, file.asker), "lookup", file.lookup);
  log.commitment(file.request_logged, REQUESTS, requestCommitment(file.lookup));
  demand(file.persons.length === fields.persons.length, "commitment_mismatch", "persons");
  const cases = [];
  file.persons.forEach((shown, index) => {
    const elements = CLASSES.flatMap((name) => {
      const count = SLOTS[fields.shape][name];
      return fields[name].slice(index * count, (index + 1) * count);
    });
    if (!explains(shown, fields.persons[index], elements, fields.shape)) cases.push(shown.case);
  });
  return { cases, not_in_the_register: cases.filter((one) => !register.map((line) => line.trim()).includes(one)) };
}

export function openSealedOpening(privateKey, value) {
  const file = sealedOpening(value);
  const envelope = {
    federation: file.federation, kind: "audit-opening", envelopeId: fromHex(file.lookup), sender: file.asker, recipient: `auditor/${file.auditor}`, binding: Buffer.alloc(0),
  };
  return textOf(open(privateKey, sealInfo(envelope), fromHex(file.sealed)).plain);
}

export function checkAuditorKey(value) {
  checkDisclosureKey(fromHex(auditorKey(value).key));
}
