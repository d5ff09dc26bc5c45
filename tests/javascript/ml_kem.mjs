// ML-KEM-768 (FIPS 203): keys from a seed, decapsulation, and whether octets are an encapsulation key.
import { concat, cut, demand, same, sha3_256, sha3_512, shake128, shake256, u8 } from "./octets.mjs";

const Q = 3329;
const [K, DU, DV] = [3, 10, 4];
const KEY = 384 * K + 32;
const ranks = Array.from({ length: K }, (_, index) => index);
const mod = (value) => ((value % Q) + Q) % Q;
const reversed = (index) => parseInt(index.toString(2).padStart(7, "0").split("").reverse().join(""), 2);

function power(exponent) {
  let result = 1;
  for (let turn = 0; turn < exponent; turn++) result = (result * 17) % Q;
  return result;
}

const ZETAS = Array.from({ length: 128 }, (_, index) => power(reversed(index)));
const GAMMAS = Array.from({ length: 128 }, (_, index) => power(2 * reversed(index) + 1));

function ntt(polynomial) {
  const f = polynomial.slice();
  for (let length = 128, i = 1; length >= 2; length >>= 1) {
    for (let start = 0; start < 256; start += 2 * length) {
      const zeta = ZETAS[i++];
      for (let j = start; j < start + length; j++) {
        const t = (zeta * f[j + length]) % Q;
        [f[j], f[j + length]] = [(f[j] + t) % Q, mod(f[j] - t)];
      }
    }
  }
  return f;
}

function inverseNtt(transformed) {
  const f = transformed.slice();
  for (let length = 2, i = 127; length <= 128; length <<= 1) {
    for (let start = 0; start < 256; start += 2 * length) {
      const zeta = ZETAS[i--];
      for (let j = start; j < start + length; j++) {
        const t = f[j];
        [f[j], f[j + length]] = [(t + f[j + length]) % Q, (zeta * mod(f[j + length] - t)) % Q];
      }
    }
  }
  return f.map((value) => (value * 3303) % Q);
}

function product(f, g) {
  const h = new Array(256);
  for (let i = 0; i < 128; i++) {
    const [a0, a1, b0, b1] = [f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]];
    h[2 * i] = (a0 * b0 + ((a1 * b1) % Q) * GAMMAS[i]) % Q;
    h[2 * i + 1] = (a0 * b1 + a1 * b0) % Q;
  }
  return h;
}

const add = (f, g) => f.map((value, index) => (value + g[index]) % Q);
const subtract = (f, g) => f.map((value, index) => mod(value - g[index]));
const inner = (fs, gs) => fs.map((f, index) => product(f, gs[index])).reduce(add);

function encode(values, width) {
  const octets = Buffer.alloc((values.length * width) / 8);
  values.forEach((value, index) => {
    for (let at = 0; at < width; at++) octets[(index * width + at) >> 3] |= ((value >> at) & 1) << ((index * width + at) & 7);
  });
  return octets;
}

function decode(octets, width) {
  return Array.from({ length: (octets.length * 8) / width }, (_, index) => {
    let value = 0;
    for (let at = 0; at < width; at++) value |= ((octets[(index * width + at) >> 3] >> ((index * width + at) & 7)) & 1) << at;
    return value;
  });
}

const polynomials = (octets, width) => {
  const all = decode(octets, width);
  return Array.from({ length: all.length / 256 }, (_, index) => all.slice(256 * index, 256 * index + 256));
};
const compress = (f, width) => f.map((value) => Math.floor((value * 2 ** width * 2 + Q) / (2 * Q)) % 2 ** width);
const decompress = (f, width) => f.map((value) => Math.floor((value * Q * 2 + 2 ** width) / 2 ** (width + 1)));

function uniform(rho, column, row) {
  const octets = shake128(concat(rho, u8(column), u8(row)), 3 * 512);
  const values = [];
  for (let at = 0; values.length < 256; at += 3) {
    const [one, other] = [octets[at] | ((octets[at + 1] & 15) << 8), (octets[at + 1] >> 4) | (octets[at + 2] << 4)];
    if (one < Q) values.push(one);
    if (other < Q && values.length < 256) values.push(other);
  }
  return values;
}

function noise(seed, counter) {
  const bits = decode(shake256(concat(seed, u8(counter)), 128), 1);
  return Array.from({ length: 256 }, (_, index) => mod(bits[4 * index] + bits[4 * index + 1] - bits[4 * index + 2] - bits[4 * index + 3]));
}

// The private and the public key of d ‖ z.
export function keysOf(seed) {
  const [d, z] = cut(seed, 32, 32);
  const [rho, sigma] = cut(sha3_512(d, u8(K)), 32, 32);
  const s = ranks.map((index) => ntt(noise(sigma, index)));
  const e = ranks.map((index) => ntt(noise(sigma, K + index)));
  const t = ranks.map((row) => add(inner(ranks.map((column) => uniform(rho, column, row)), s), e[row]));
  return { s, z, publicKey: concat(...t.map((f) => encode(f, 12)), rho) };
}

export function checkPublicKey(key) {
  demand(key.length === KEY, "malformed_message", "length");
  demand(decode(key.subarray(0, 384 * K), 12).every((value) => value < Q), "malformed_message", "coefficient");
}

function encrypt(publicKey, message, randomness) {
  const t = polynomials(publicKey.subarray(0, 384 * K), 12);
  const rho = publicKey.subarray(384 * K);
  const y = ranks.map((index) => ntt(noise(randomness, index)));
  const u = ranks.map((row) => {
    const mixed = inverseNtt(inner(ranks.map((column) => uniform(rho, row, column)), y));
    return compress(add(mixed, noise(randomness, K + row)), DU);
  });
  const mu = decompress(decode(message, 1), 1);
  const v = compress(add(add(inverseNtt(inner(t, y)), noise(randomness, 2 * K)), mu), DV);
  return concat(...u.map((f) => encode(f, DU)), encode(v, DV));
}

export function decapsulate({ s, z, publicKey }, ciphertext) {
  const u = polynomials(ciphertext.subarray(0, 32 * DU * K), DU).map((f) => ntt(decompress(f, DU)));
  const v = decompress(decode(ciphertext.subarray(32 * DU * K), DV), DV);
  const message = encode(compress(subtract(v, inverseNtt(inner(s, u))), 1), 1);
  const [secret, randomness] = cut(sha3_512(message, sha3_256(publicKey)), 32, 32);
  return same(encrypt(publicKey, message, randomness), ciphertext) ? secret : shake256(concat(z, ciphertext), 32);
}
