// Entries, blobs and segments of a sealed index (protocol.md 6.1, 6.3, 6.5, 6.6).
import { createCipheriv, createDecipheriv } from "node:crypto";
import { H, KDF, concat, cut, demand, fromHex, hex, lengthAndText, refuse, same, u16, u32 } from "./octets.mjs";
import { fixed, federation as federationType, message, node as nodeType, record, u32Type, u8 } from "./canonical.mjs";

const ENTRY = 96;
const BLOB = 475;
const MARKER = 16;
const FIELD_TAGS = 44;
const MINIMA = { entries: 256, blobs: 16, markers: 8 };
const MOST = { entries: 524288, blobs: 65536, markers: 65536 };
const MOST_OCTETS = 64 * 1024 * 1024;
const MOST_CHAIN = 256;
const invalid = (holds, detail) => demand(holds, "sealed_data_invalid", detail);

export function sealGcm(key, nonce, additional, plain) {
  const cipher = createCipheriv(`aes-${8 * key.length}-gcm`, key, nonce).setAAD(additional);
  return concat(cipher.update(plain), cipher.final(), cipher.getAuthTag());
}

export function openGcm(key, nonce, additional, sealed) {
  invalid(sealed.length >= 16, "length");
  const cipher = createDecipheriv(`aes-${8 * key.length}-gcm`, key, nonce).setAAD(additional).setAuthTag(sealed.subarray(-16));
  try {
    return concat(cipher.update(sealed.subarray(0, -16)), cipher.final());
  } catch {
    return refuse("sealed_data_invalid", "does not open");
  }
}

// `place` is {federation, node, epoch}, and of an entry {segment, counter} besides.
export function entryKeys(output, { federation, node, epoch, segment, counter }) {
  demand(counter < MOST_CHAIN, "limit_exceeded", "counter");
  const info = concat(lengthAndText(federation), lengthAndText(node), u32(epoch), u32(segment), u16(counter));
  const [tag, key, nonce] = cut(KDF(output, "index-entry", info, 60), 16, 32, 12);
  return { tag, key, nonce };
}

export function sealEntry(output, place, blobId, slots) {
  const { tag, key, nonce } = entryKeys(output, place);
  return concat(tag, sealGcm(key, nonce, tag, concat(blobId, ...slots)));
}

export function openEntry(output, place, entry) {
  const { tag, key, nonce } = entryKeys(output, place);
  invalid(entry.length === ENTRY && same(entry.subarray(0, 16), tag), "tag");
  const [blobId, ...slots] = cut(openGcm(key, nonce, tag, entry.subarray(16)), 16, 16, 16, 16);
  return { blobId, slots };
}

export function blobKeys(secret, blobId, { federation, node, epoch }) {
  const info = concat(blobId, lengthAndText(federation), lengthAndText(node), u32(epoch));
  const [key, nonce, commitment] = cut(KDF(secret, "label-key", info, 76), 32, 12, 32);
  return { key, nonce, commitment };
}

const fieldTags = {
  read: (source) => Array.from({ length: FIELD_TAGS }, () => hex(source.take(8))),
  write: (tags) => concat(...tags.map(fromHex)),
};
const label = message(null, record([
  ["version", u8], ["handle", fixed(16)], ["kind", u8], ["tier", u8], ["expires_days", u32Type], ["commitment", fixed(32)], ["presence", u32Type], ["field_tags", fieldTags],
]));

export function sealBlob(secret, blobId, place, shown) {
  const { key, nonce, commitment } = blobKeys(secret, blobId, place);
  const sealed = sealGcm(key, nonce, concat(blobId, commitment), label.encode({ version: 1, ...shown }));
  return { key, nonce, commitment, blob: concat(blobId, commitment, sealed) };
}

// Whether the secret is the blob's: 6.3's commitment.
export function commits(secret, place, blob) {
  return blob.length === BLOB && same(blob.subarray(16, 48), blobKeys(secret, blob.subarray(0, 16), place).commitment);
}

export function openBlob(secret, place, blob) {
  invalid(blob.length === BLOB && commits(secret, place, blob), "commitment");
  const { key, nonce } = blobKeys(secret, blob.subarray(0, 16), place);
  const { version, ...shown } = label.decode(openGcm(key, nonce, blob.subarray(0, 48), blob.subarray(48)));
  const tags = shown.field_tags;
  invalid(version === 1 && tags.every((tag, index) => index === 0 || tags[index - 1] <= tag), "version or field tags");
  return shown;
}

export const fieldTag = (output, blobId) => KDF(output, "field-tag", blobId, 8);
export const withdrawalMarker = (secret, blobId) => KDF(secret, "withdrawn", blobId, 16);

export function paddedCount(count, minimum) {
  if (count <= minimum) return minimum;
  const bits = count.toString(2).length - 1;
  if (count <= 4096) return count === 2 ** bits ? count : 2 ** (bits + 1);
  const step = 2 ** (bits - bits.toString(2).length);
  return Math.ceil(count / step) * step;
}

const header = message("segment", record([
  ["federation", federationType], ["node", nodeType], ["epoch", u32Type], ["number", u32Type], ["entries", u32Type], ["blobs", u32Type], ["markers", u32Type],
]));
const WIDTHS = { entries: ENTRY, blobs: BLOB, markers: MARKER };

export function readSegment(octets) {
  demand(octets.length <= MOST_OCTETS, "limit_exceeded", "segment");
  const [head, rest] = header.begin(octets);
  for (const name of Object.keys(WIDTHS)) demand(head[name] <= MOST[name], "limit_exceeded", name);
  const length = Object.entries(WIDTHS).reduce((sum, [name, width]) => sum + width * head[name], octets.length - rest.length);
  demand(length <= MOST_OCTETS, "limit_exceeded", "segment");
  for (const name of Object.keys(WIDTHS)) demand(paddedCount(head[name], MINIMA[name]) === head[name], "not_canonical", "padding");
  const lists = {};
  let at = 0;
  for (const [name, width] of Object.entries(WIDTHS)) {
    demand(at + width * head[name] <= rest.length, "malformed_message", "ends too early");
    lists[name] = Array.from({ length: head[name] }, (_, index) => rest.subarray(at + width * index, at + width * (index + 1)));
    at += width * head[name];
  }
  demand(at === rest.length, "not_canonical", "octets behind the markers");
  for (const items of Object.values(lists)) {
    demand(items.every((item, index) => index === 0 || Buffer.compare(items[index - 1], item) < 0), "not_canonical", "order");
  }
  return { head, lists, place: { federation: head.federation, node: head.node, epoch: head.epoch, segment: head.number } };
}

export const segmentAddress = (octets) => H("segment-address", octets);

// The chain of an output, up to the first tag that is not there; null for what does not open.
export function probe({ lists, place }, output) {
  const chain = [];
  for (let counter = 0; counter < MOST_CHAIN; counter++) {
    const { tag } = entryKeys(output, { ...place, counter });
    const entry = lists.entries.find((one) => same(one.subarray(0, 16), tag));
    if (entry === undefined) break;
    try {
      chain.push(openEntry(output, { ...place, counter }, entry));
    } catch {
      chain.push(null);
    }
  }
  return chain;
}

export const blobIn = ({ lists }, blobId) => lists.blobs.find((blob) => same(blob.subarray(0, 16), blobId)) ?? null;
export const entryIn = ({ lists }, tag) => lists.entries.find((entry) => same(entry.subarray(0, 16), tag)) ?? null;
