// Lookups and answers: making, accepting, checking, and the plan of a person (protocol.md 5.4, 5.5, 7).
import { H, concat, demand, fromHex, hex, refuse, same, u16, u8, utf8 } from "./octets.mjs";
import { signStatement, verifyStatement } from "./ed25519.mjs";
import { CLASSES, COMMITMENTS, SLOTS, answer, indexHead, lookup, lookupDigest } from "./statements.mjs";
import { blind, unblind, verifyProof } from "./voprf.mjs";

const TOLERANCE = 300000n;
const DAY = 86400000n;
const MOST_LOOKUPS = 3;
const KEY_OF_CLASS = { W: "key_weak", M: "key_match", C: "key_code" };

// matching.md 3 and 4: the label of each slot, by class.
const LABELS = {
  W: "SW1+So F1+Lz+MD F+Dc F+S".split(" ").map((name) => "K:" + name),
  M: "L3+Dc Fc+D Ls+Dc SW3+MD SW3+YM SWp+YM F1+L4+YM L3+S Lk+S SW3+So YD+S YM+S".split(" ").map((name) => "K:" + name),
  C: "F Fc Fp Fo Fz L Ls Lz SW SW1 SW3 D Yo YM YD MD Y S P PS M M1 X G".split(" ").map((name) => "C:" + name),
};

export function input(version, label, values) {
  const octets = utf8(label);
  const written = values.map(utf8);
  demand(octets.length <= 255 && values.length <= 255 && written.every((value) => value.length <= 65535), "limit_exceeded");
  return concat(u8(version), u8(octets.length), octets, u8(values.length), ...written.flatMap((value) => [u16(value.length), value]));
}

// 5.4, backwards: the version of the scheme of a canonical input.
export function versionOfInput(octets) {
  const source = [...octets];
  const take = (count) => (source.length >= count ? source.splice(0, count) : refuse("malformed_message", "input"));
  const [version] = take(1);
  demand(version > 0, "malformed_message", "version");
  take(take(1)[0]);
  for (let left = take(1)[0]; left > 0; left--) {
    const [high, low] = take(2);
    take(256 * high + low);
  }
  demand(source.length === 0, "not_canonical", "behind the last value");
  return version;
}

export const filler = (version, seed, name, slot) => input(version, "filler", [hex(seed), name, String(slot)]);

// matching.md 5, from keys already made: the inputs of each lookup, by class.
export function plan({ scheme_version: version, keys, shape, filler_seed: seed, least_lookups: least }) {
  const classOf = (key) => CLASSES.find((name) => LABELS[name].includes(key.label)) ?? "M";
  const inputOf = (key) => hex(input(version, key.label, key.values));
  const lookups = [];
  const used = new Set();
  const lookupNumber = (number) => {
    while (lookups.length <= number) lookups.push(Object.fromEntries(CLASSES.map((name) => [name, new Array(SLOTS[shape][name]).fill(null)])));
    return lookups[number];
  };
  lookupNumber(least - 1);
  for (const key of keys.whole) {
    const slot = LABELS[classOf(key)].indexOf(key.label);
    if (slot >= SLOTS[shape][classOf(key)]) continue;
    lookups[0][classOf(key)][slot] = inputOf(key);
    used.add(inputOf(key));
  }
  // Into the first free slot of the first `most` lookups; false where there is none.
  const place = (key, most) => {
    const [name, value] = [classOf(key), inputOf(key)];
    if (SLOTS[shape][name] === 0 || used.has(value)) return true;
    for (let number = 0; number < most; number++) {
      const free = lookupNumber(number)[name].indexOf(null);
      if (free < 0) continue;
      lookups[number][name][free] = value;
      used.add(value);
      return true;
    }
    return false;
  };
  const fitted = keys.others.map((key) => place(key, MOST_LOOKUPS)).every(Boolean);
  if (fitted) [...keys.spare, ...keys.reserves].forEach((key) => place(key, 1));
  const filled = (slots, name) => slots.map((slot, number) => slot ?? hex(filler(version, fromHex(seed), name, number)));
  return lookups.map((one) => Object.fromEntries(CLASSES.map((name) => [name, filled(one[name], name)])));
}

export const commitment = (name, salt, value) => {
  demand(salt.length === 32, "malformed_message", "salt");
  return H(`commitment/${name}`, salt, value);
};

export function personCommitments({ salts, filler_seed: seed, ...person }) {
  const valueOf = (name) => (name === "filler" ? fromHex(seed) : utf8(person[name]));
  return Object.fromEntries(COMMITMENTS.map((name) => [name, hex(commitment(name, fromHex(salts[name]), valueOf(name)))]));
}

export const slotsOf = (persons, name) => persons.flatMap(({ slots }) => slots.filter((slot) => slot.class === name));

export function makeLookup({ seed, persons, ...given }) {
  const blinded = (name) => slotsOf(persons, name).map((slot) => hex(blind(fromHex(slot.input), fromHex(slot.blind))));
  const elements = Object.fromEntries(CLASSES.map((name) => [name, blinded(name)]));
  const expires = String(BigInt(given.issued) + DAY);
  const body = lookup.encode({ ...given, persons: persons.map(personCommitments), expires, ...elements });
  return signStatement(fromHex(seed), "lookup", body);
}

export function checkTimes({ issued, expires }, now) {
  demand(BigInt(issued) <= now + TOLERANCE, "not_yet_valid");
  demand(expires === undefined || now < BigInt(expires), "expired");
}

// 7.3, before standing.
export function acceptLookup({ lookup: part, member, signing_key: key, federation, node, now }) {
  const fields = lookup.decode(fromHex(part.body));
  demand(fields.asker === member, "not_a_member");
  verifyStatement(key, "lookup", part);
  demand(fields.federation === federation, "identity_mismatch", "federation");
  checkTimes(fields, BigInt(now));
  const target = fields.targets.find((one) => one.node === node) ?? refuse("wrong_recipient");
  return { asker: fields.asker, epoch: target.epoch };
}

export function verifyProofs(asked, fields, head) {
  for (const name of CLASSES) {
    if (fields[name] === null) continue;
    const { elements, proof } = fields[name];
    verifyProof(fromHex(head[KEY_OF_CLASS[name]]), asked[name].map(fromHex), elements.map(fromHex), fromHex(proof));
  }
}

// 7.5 without what only the asker knows: that both belong together.
export function belongs(asked, askedBody, fields, node) {
  const right =
    fields.federation === asked.federation && fields.node === node && fields.asker === asked.asker &&
    fields.lookup_id === asked.lookup_id && same(fromHex(fields.lookup_digest), lookupDigest(askedBody));
  demand(right, "identity_mismatch");
  demand(fields.shape === asked.shape && fields.persons === asked.persons.length, "malformed_message", "shape or persons");
}

export function checkAnswer({ lookup_body: body, scheme_version: version, answer: part, node, signing_key: key, head_body: headBody }) {
  const asked = lookup.decode(fromHex(body));
  verifyStatement(key, "answer", part);
  const fields = answer.decode(fromHex(part.body));
  belongs(asked, fromHex(body), fields, node);
  if (fields.status === 1) {
    const head = indexHead.decode(fromHex(headBody));
    const target = asked.targets.find((one) => one.node === node) ?? refuse("identity_mismatch", "no target");
    const right = head.node === node && head.epoch === fields.epoch && fields.epoch === target.epoch && head.scheme_version === version;
    demand(right, "key_mismatch");
    verifyProofs(asked, fields, head);
  }
  return fields;
}

export function takeAnswer({ lookup: made, ...given }) {
  const { body } = makeLookup(made);
  const version = Math.max(...made.persons.flatMap(({ slots }) => slots.map((slot) => versionOfInput(fromHex(slot.input)))));
  const fields = checkAnswer({ ...given, lookup_body: body, scheme_version: version });
  return made.persons.map((person, index) => {
    const outputs = (name) => {
      const slots = slotsOf([person], name);
      const evaluated = fields[name]?.elements.slice(index * slots.length, (index + 1) * slots.length) ?? [];
      return unblind(slots.map((slot) => fromHex(slot.input)), slots.map((slot) => fromHex(slot.blind)), evaluated.map(fromHex)).map(hex);
    };
    return Object.fromEntries(CLASSES.map((name) => [name, outputs(name)]));
  });
}
