// Verification of ML-DSA-44 (FIPS 204, algorithm 3), with the empty context.
import { concat, cut, demand, same, shake128, shake256, u8 } from "./octets.mjs";

const Q = 8380417;
const [K, L, TAU, OMEGA, D] = [4, 4, 39, 80, 13];
const GAMMA1 = 1 << 17;
const GAMMA2 = (Q - 1) / 88;
const BETA = 78;
const INVERSE_256 = 8347681;

const mod = (value) => ((value % Q) + Q) % Q;
const reversed = (index) => parseInt(index.toString(2).padStart(8, "0").split("").reverse().join(""), 2);

function power(base, exponent) {
  let result = 1;
  for (let turn = 0; turn < exponent; turn++) result = (result * base) % Q;
  return result;
}

const ZETAS = Array.from({ length: 256 }, (_, index) => power(1753, reversed(index)));

function ntt(polynomial) {
  const values = polynomial.slice();
  for (let length = 128, m = 0; length >= 1; length >>= 1) {
    for (let start = 0; start < 256; start += 2 * length) {
      const zeta = ZETAS[++m];
      for (let j = start; j < start + length; j++) {
        const t = (zeta * values[j + length]) % Q;
        values[j + length] = mod(values[j] - t);
        values[j] = (values[j] + t) % Q;
      }
    }
  }
  return values;
}

function inverseNtt(transformed) {
  const values = transformed.slice();
  for (let length = 1, m = 256; length < 256; length <<= 1) {
    for (let start = 0; start < 256; start += 2 * length) {
      const zeta = Q - ZETAS[--m];
      for (let j = start; j < start + length; j++) {
        const t = values[j];
        values[j] = (t + values[j + length]) % Q;
        values[j + length] = (zeta * mod(t - values[j + length])) % Q;
      }
    }
  }
  return values.map((value) => (value * INVERSE_256) % Q);
}

function unpack(octets, width) {
  const values = [];
  for (let bit = 0; bit < octets.length * 8; bit += width) {
    let value = 0;
    for (let at = 0; at < width; at++) value |= ((octets[(bit + at) >> 3] >> ((bit + at) & 7)) & 1) << at;
    values.push(value);
  }
  return values;
}

function rejected(rho, row, column) {
  const octets = shake128(concat(rho, u8(column), u8(row)), 3 * 1024);
  const values = [];
  for (let at = 0; values.length < 256; at += 3) {
    const value = octets[at] | (octets[at + 1] << 8) | ((octets[at + 2] & 0x7f) << 16);
    if (value < Q) values.push(value);
  }
  return values;
}

function ball(seed) {
  const octets = shake256(seed, 8 + 1024);
  const values = new Array(256).fill(0);
  let at = 8;
  for (let index = 256 - TAU; index < 256; index++) {
    while (octets[at] > index) at++;
    const place = octets[at++];
    values[index] = values[place];
    const bit = index + TAU - 256;
    values[place] = (octets[bit >> 3] >> (bit & 7)) & 1 ? Q - 1 : 1;
  }
  return values;
}

// The positions of the hints in each polynomial; null where they are not encoded as they must be.
function hints(octets) {
  const rows = [];
  let at = 0;
  for (let row = 0; row < K; row++) {
    const end = octets[OMEGA + row];
    if (end < at || end > OMEGA) return null;
    const places = [...octets.subarray(at, end)];
    if (places.some((place, index) => index > 0 && place <= places[index - 1])) return null;
    rows.push(new Set(places));
    at = end;
  }
  return octets.subarray(at, OMEGA).some((octet) => octet !== 0) ? null : rows;
}

function highBits(value, hinted) {
  let low = value % (2 * GAMMA2);
  if (low > GAMMA2) low -= 2 * GAMMA2;
  const high = value - low === Q - 1 ? 0 : (value - low) / (2 * GAMMA2);
  if (value - low === Q - 1) low -= 1;
  if (!hinted) return high;
  return low > 0 ? (high + 1) % 44 : (high + 43) % 44;
}

function packSixBits(values) {
  const octets = Buffer.alloc((values.length * 6) / 8);
  values.forEach((value, index) => {
    for (let at = 0; at < 6; at++) octets[(6 * index + at) >> 3] |= ((value >> at) & 1) << ((6 * index + at) & 7);
  });
  return octets;
}

function holds(key, octets, signature) {
  const [seed, packedZ, packedHints] = cut(signature, 32, L * 576, OMEGA + K);
  const z = unpack(packedZ, 18).map((value) => GAMMA1 - value);
  const hinted = hints(packedHints);
  if (hinted === null || z.some((value) => Math.abs(value) >= GAMMA1 - BETA)) return false;
  const rho = key.subarray(0, 32);
  const t1 = unpack(key.subarray(32), 10);
  const mu = shake256(concat(shake256(key, 64), u8(0), u8(0), octets), 64);
  const c = ntt(ball(seed));
  const zs = Array.from({ length: L }, (_, column) => ntt(z.slice(256 * column, 256 * column + 256).map(mod)));
  const rows = Array.from({ length: K }, (_, row) => {
    const t = ntt(t1.slice(256 * row, 256 * row + 256).map((value) => (value * 2 ** D) % Q));
    const sum = c.map((value, at) => mod(-value * t[at]));
    zs.forEach((column, number) => {
      const a = rejected(rho, row, number);
      for (let at = 0; at < 256; at++) sum[at] = (sum[at] + a[at] * column[at]) % Q;
    });
    return inverseNtt(sum).map((value, at) => highBits(value, hinted[row].has(at)));
  });
  return same(shake256(concat(mu, ...rows.map(packSixBits)), 32), seed);
}

const seen = new Map();

export function verify(key, octets, signature) {
  demand(signature.length === 2420, "signature_invalid", "length");
  const name = shake256(concat(key, signature, octets), 32).toString("latin1");
  if (!seen.has(name)) seen.set(name, holds(key, octets, signature));
  demand(seen.get(name), "signature_invalid");
}
