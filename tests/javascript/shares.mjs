// Shares over GF(2^128) (protocol.md 6.2).
import { KDF, concat, demand, fromHex, integer, number, same, u8 } from "./octets.mjs";

const REDUCTION = 0x87n;
const TOP = 1n << 128n;
export const element = (octets) => number(octets);
export const octetsOf = (value) => integer(value, 16);

export function product(a, b) {
  let result = 0n;
  for (let left = b, shifted = a; left > 0n; left >>= 1n) {
    if (left & 1n) result ^= shifted;
    shifted <<= 1n;
    if (shifted & TOP) shifted ^= TOP | REDUCTION;
  }
  return result;
}

export function inverse(a) {
  demand(a !== 0n, "malformed_message", "zero has no inverse");
  let result = 1n;
  for (let turn = 1, square = a; turn < 128; turn++) {
    square = product(square, square);
    result = product(result, square);
  }
  return result;
}

export function polynomial(secret, blobId, threshold) {
  demand(threshold >= 3 && threshold <= 8, "limit_exceeded", "threshold");
  const higher = Array.from({ length: threshold - 1 }, (_, index) => KDF(secret, "share-coefficient", concat(blobId, u8(index + 1)), 16));
  return [secret, ...higher].map(element);
}

export const share = (coefficients, abscissa) => coefficients.reduceRight((sum, one) => product(sum, BigInt(abscissa)) ^ one, 0n);

export function labelShares(secret, blobId, threshold, position, weight) {
  demand(position <= 31 && weight <= 2, "limit_exceeded", "position or weight");
  const coefficients = polynomial(secret, blobId, threshold);
  return Array.from({ length: weight }, (_, j) => ({ abscissa: 1 + 3 * position + j, share: share(coefficients, 1 + 3 * position + j) }));
}

// f at 0, from the shares of lowest abscissa.
export function interpolate(shares, threshold) {
  demand(threshold >= 3 && threshold <= 8, "limit_exceeded", "threshold");
  demand(new Set(shares.map(({ abscissa }) => abscissa)).size === shares.length, "malformed_message", "abscissa twice");
  demand(shares.length >= threshold, "gate_closed", "too few shares");
  const points = [...shares].sort((a, b) => a.abscissa - b.abscissa).slice(0, threshold);
  return points.reduce((sum, one) => {
    const others = points.filter((other) => other !== one);
    const factor = others.reduce((so, { abscissa }) => product(so, product(BigInt(abscissa), inverse(BigInt(abscissa) ^ BigInt(one.abscissa)))), 1n);
    return sum ^ product(factor, one.share);
  }, 0n);
}

// 6.4: the secret that the shares held give, all of which must lie on its polynomial.
export function throughGate(blobId, threshold, hits) {
  demand(threshold >= 3 && threshold <= 8, "limit_exceeded", "threshold");
  demand(hits.reduce((sum, { weight }) => sum + weight, 0) >= threshold, "gate_closed");
  const held = hits.flatMap(({ position, weight, slots }) =>
    slots.slice(0, weight).map((slot, j) => ({ abscissa: 1 + 3 * position + j, share: element(fromHex(slot)) })),
  );
  const secret = octetsOf(interpolate(held, threshold));
  const coefficients = polynomial(secret, blobId, threshold);
  const fits = held.every((one) => same(octetsOf(share(coefficients, one.abscissa)), octetsOf(one.share)));
  demand(fits, "sealed_data_invalid", "a share is not the secret's");
  return secret;
}
