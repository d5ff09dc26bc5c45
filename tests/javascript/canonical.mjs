// The canonical encoding (protocol.md 3): types, reading, writing. Values are as in the vectors: octets in
// hexadecimal, integers of 64 bits and times as decimal text, records as objects.
import { concat, demand, domainLabel, fromHex, hex, integer, lengthAndOctets, number, refuse, same, textOf, u32, utf8 } from "./octets.mjs";
import { checkIdentifier } from "./identifiers.mjs";
import { checkSigningKey } from "./ed25519.mjs";
import { checkElement, readScalar } from "./ristretto.mjs";

const LAST_TIME = 253402300799999n;

class Source {
  constructor(octets) {
    this.octets = octets;
    this.at = 0;
  }

  take(count) {
    demand(this.at + count <= this.octets.length, "malformed_message", "ends too early");
    return this.octets.subarray(this.at, (this.at += count));
  }

  counted(most) {
    const count = Number(number(this.take(4)));
    demand(count <= most, "limit_exceeded");
    return count;
  }
}

const whole = (width, most, show) => ({
  read(source) {
    const value = number(source.take(width));
    demand(most === null || value <= most, "malformed_message", "number too large");
    return show(value);
  },
  write(value) {
    demand(most === null || BigInt(value) <= most, "malformed_message", "number too large");
    return integer(value, width);
  },
});

export const u8 = whole(1, null, Number);
export const u16 = whole(2, null, Number);
export const u32Type = whole(4, null, Number);
export const u64 = whole(8, null, String);
export const u63 = whole(8, (1n << 63n) - 1n, String);
export const time = whole(8, LAST_TIME, String);

// `type`, of whose values `holds` is to be true.
export const where = (type, holds, code = "malformed_message") => ({
  read(source) {
    const value = type.read(source);
    demand(holds(value), code);
    return value;
  },
  write: (value) => {
    demand(holds(value), code);
    return type.write(value);
  },
});

export const code = (first, last) => where(u8, (value) => value >= first && value <= last);

export const fixed = (length) => ({
  read: (source) => hex(source.take(length)),
  write(value) {
    demand(value.length === 2 * length, "malformed_message", "another length");
    return fromHex(value);
  },
});

export const octets = (most) => ({
  read: (source) => hex(source.take(source.counted(most))),
  write(value) {
    demand(value.length <= 2 * most, "limit_exceeded");
    return lengthAndOctets(fromHex(value));
  },
});

export const text = (most = 64) => ({
  read(source) {
    const value = textOf(source.take(source.counted(most)));
    demand(value === value.normalize("NFC"), "not_canonical", "not in NFC");
    return value;
  },
  write(value) {
    const written = utf8(value.normalize("NFC"));
    demand(written.length <= most, "limit_exceeded");
    return lengthAndOctets(written);
  },
});

export const identifier = (kind) => where(text(64), (value) => checkIdentifier(kind, value) ?? true);
export const federation = identifier("federation");
export const node = identifier("node");
export const plain = (most) => where(text(most), (value) => !/\p{Cc}/u.test(value));
export const element = where(fixed(32), (value) => checkElement(fromHex(value)) ?? true);
export const proof = where(fixed(64), (value) => {
  readScalar(fromHex(value.slice(0, 64)));
  readScalar(fromHex(value.slice(64)));
  return true;
});
export const signingKey = where(fixed(32), (value) => checkSigningKey(fromHex(value)) ?? true);

// A tuple, whose value is a list; and a record, whose value is an object.
export const tuple = (types) => ({
  read: (source) => types.map((type) => type.read(source)),
  write: (values) => concat(...types.map((type, index) => type.write(values[index]))),
});

export const record = (fields) => ({
  fields,
  read(source) {
    const value = {};
    for (const [name, type] of fields) value[name] = type.read(source, value);
    return value;
  },
  write: (value) => concat(...fields.map(([name, type]) => type.write(value[name], value))),
});

const repeated = (count, item, least) => (source) => {
  const values = [];
  const number = count(source);
  demand(number >= least, "not_canonical", "too few");
  for (let index = 0; index < number; index++) values.push(item.read(source));
  return values;
};

// `order` is the octets by which the items ascend strictly; null where they are in no order.
export function list(item, most, { order = null, least = 0, count = null } = {}) {
  const check = (values) => {
    if (order === null) return;
    for (let index = 1; index < values.length; index++) {
      demand(Buffer.compare(order(values[index - 1]), order(values[index])) < 0, "not_canonical", "order");
    }
  };
  const read = repeated((source) => (count === null ? source.counted(most) : count(source)), item, least);
  return {
    read(source) {
      const values = read(source);
      check(values);
      return values;
    },
    write(values) {
      demand(values.length <= most, "limit_exceeded");
      demand(values.length >= least, "not_canonical");
      check(values);
      const head = count === null ? u32(values.length) : count.write(values.length);
      return concat(head, ...values.map((value) => item.write(value)));
    },
  };
}

// canonical(label; …) of a type: encode, decode, and `begin`, which reads and leaves what is behind.
export function message(label, type) {
  const opening = label === null ? Buffer.alloc(0) : domainLabel(label);
  const begin = (octets) => {
    const source = new Source(octets);
    demand(same(source.take(opening.length), opening), "malformed_message", "another label");
    return [type.read(source), octets.subarray(source.at)];
  };
  return {
    encode: (value) => concat(opening, type.write(value)),
    begin,
    decode(octets) {
      const [value, rest] = begin(octets);
      demand(rest.length === 0, "not_canonical", "octets behind the last field");
      return value;
    },
  };
}

// A type as the vectors of `encode` and `decode` spell it.
export function typeNamed(spelt) {
  if (spelt.type === "list") {
    const items = spelt.of.map(typeNamed);
    return list(tuple(items), spelt.most);
  }
  const named = { u8, u16, u32: u32Type, u64, time, text: () => text(spelt.most), octets: () => octets(spelt.most), fixed: () => fixed(spelt.octets) };
  const type = named[spelt.type] ?? refuse("malformed_message", "type");
  return typeof type === "function" ? type() : type;
}
