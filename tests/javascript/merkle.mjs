// Merkle trees of RFC 9162 and the tiles of tlog-tiles (protocol.md 14.1, 14.6). Sizes and indexes are BigInt.
import { concat, demand, refuse, same, sha256, u16, u8 } from "./octets.mjs";

const MOST_BITS = 63n;
const TILE = 256n;

export const leafHash = (entry) => sha256(u8(0), entry);
const nodeHash = (left, right) => sha256(u8(1), left, right);
export const EMPTY_ROOT = sha256();

// The largest power of two below `count`.
function split(count) {
  let half = 1;
  while (half * 2 < count) half *= 2;
  return half;
}

export function root(leaves) {
  if (leaves.length === 0) return EMPTY_ROOT;
  if (leaves.length === 1) return leaves[0];
  const half = split(leaves.length);
  return nodeHash(root(leaves.slice(0, half)), root(leaves.slice(half)));
}

// The roots of the largest full subtrees, left to right.
export function compact(leaves) {
  const roots = [];
  for (let at = 0; at < leaves.length; ) {
    let width = 1;
    while (at + 2 * width <= leaves.length) width *= 2;
    roots.push(root(leaves.slice(at, at + width)));
    at += width;
  }
  return roots;
}

// The root of a tree of `size` + leaves.length leaves, the first `size` of which are given as `compact` says.
export function rootBehind(hashes, size, leaves) {
  const stack = [];
  const bits = size.toString(2);
  const widths = [...bits].flatMap((bit, index) => (bit === "1" ? [1n << BigInt(bits.length - 1 - index)] : []));
  demand(hashes.length === widths.length, "malformed_message", "hashes of the first entries");
  widths.forEach((width, index) => stack.push([width, hashes[index]]));
  for (const leaf of leaves) {
    stack.push([1n, leaf]);
    while (stack.length > 1 && stack.at(-1)[0] === stack.at(-2)[0]) {
      const [[width, left], [, right]] = stack.splice(-2);
      stack.push([2n * width, nodeHash(left, right)]);
    }
  }
  return stack.length === 0 ? EMPTY_ROOT : stack.map(([, hash]) => hash).reduceRight((right, left) => nodeHash(left, right));
}

export function inclusionProof(leaves, index) {
  if (leaves.length <= 1) return [];
  const half = split(leaves.length);
  const [left, right] = [leaves.slice(0, half), leaves.slice(half)];
  if (index < half) return [...inclusionProof(left, index), root(right)];
  return [...inclusionProof(right, index - half), root(left)];
}

export function consistencyProof(leaves, first) {
  const below = (part, count, known) => {
    if (count === part.length) return known ? [] : [root(part)];
    const half = split(part.length);
    if (count <= half) return [...below(part.slice(0, half), count, known), root(part.slice(half))];
    return [...below(part.slice(half), count - half, false), root(part.slice(0, half))];
  };
  return first === 0 || first === leaves.length ? [] : below(leaves, first, true);
}

export function verifyInclusion(leaf, index, size, proof, expected) {
  demand(index < size, "proof_invalid", "index beyond the tree");
  let [fn, sn, hash] = [index, size - 1n, leaf];
  for (const other of proof) {
    demand(sn !== 0n, "proof_invalid", "too long");
    if (fn & 1n || fn === sn) {
      hash = nodeHash(other, hash);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      hash = nodeHash(hash, other);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  demand(sn === 0n && same(hash, expected), "proof_invalid");
}

// The roots of the first and of the second tree that a proof gives (RFC 9162 2.1.4.2), of sizes 0 < first < second.
export function rootsOfConsistency(first, second, proof, firstRoot) {
  const path = (first & (first - 1n)) === 0n ? [firstRoot, ...proof] : proof;
  demand(proof.length > 0, "proof_invalid", "empty");
  let [fn, sn] = [first - 1n, second - 1n];
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [one, two] = [path[0], path[0]];
  for (const other of path.slice(1)) {
    demand(sn !== 0n, "proof_invalid", "too long");
    if (fn & 1n || fn === sn) {
      [one, two] = [nodeHash(other, one), nodeHash(other, two)];
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      two = nodeHash(two, other);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  demand(sn === 0n, "proof_invalid", "too short");
  return [one, two];
}

export function verifyConsistency(first, second, proof, firstRoot, secondRoot) {
  demand(first <= second, "proof_invalid", "sizes");
  if (first === 0n || first === second) {
    demand(proof.length === 0, "proof_invalid", "not empty");
    demand(first !== 0n || same(firstRoot, EMPTY_ROOT), "proof_invalid", "root of nothing");
    demand(first !== second || same(firstRoot, secondRoot), "proof_invalid", "roots");
    return;
  }
  const [one, two] = rootsOfConsistency(first, second, proof, firstRoot);
  demand(same(one, firstRoot) && same(two, secondRoot), "proof_invalid");
}

// A level of null is that of the bundles.
export function tilePath(level, index, width) {
  const digits = index.toString();
  const parts = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g);
  const path = parts.map((part, at) => (at < parts.length - 1 ? "x" + part : part)).join("/");
  return `tile/${level ?? "entries"}/${path}${width === 256 ? "" : `.p/${width}`}`;
}

export function readTilePath(path) {
  const form = /^tile\/(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;
  const [, name, parts, partial] = form.exec(path) ?? refuse("malformed_message", "path");
  const index = BigInt(parts.replace(/[x/]/g, ""));
  const [level, width] = [name === "entries" ? null : Number(name), Number(partial ?? 256)];
  demand(index < 1n << MOST_BITS && (level ?? 0) < 64 && width < (partial ? 256 : 257), "malformed_message", "path");
  demand(tilePath(level, index, width) === path, "malformed_message", "path");
  return { level, index: String(index), width };
}

export function tiles(size) {
  const all = [];
  for (let level = 0, hashes = size; hashes > 0n; level++, hashes /= TILE) {
    for (let index = 0n; index * TILE < hashes; index++) {
      const left = hashes - index * TILE;
      all.push({ level, index: String(index), width: Number(left < TILE ? left : TILE) });
    }
  }
  return all;
}

export const bundle = (entries) => concat(...entries.flatMap((entry) => [u16(entry.length), entry]));

export function readBundle(octets, count) {
  demand(count <= 256, "limit_exceeded");
  const entries = [];
  let at = 0;
  for (let left = count; left > 0; left--) {
    demand(at + 2 <= octets.length, "malformed_message", "bundle");
    const length = octets.readUInt16BE(at);
    demand(at + 2 + length <= octets.length, "malformed_message", "bundle");
    entries.push(octets.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  demand(at === octets.length, "not_canonical", "behind the last entry");
  return entries;
}
