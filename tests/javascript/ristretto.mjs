// ristretto255 (RFC 9496) with whole numbers; not in constant time, for it reads vectors only.
import { demand, littleEndian, refuse, toLittleEndian } from "./octets.mjs";

const P = (1n << 255n) - 19n;
export const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
const SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752n;
const SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235n;
const INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578n;
const ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838n;
const D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952n;

const mod = (value, modulus = P) => ((value % modulus) + modulus) % modulus;
const negative = (value) => (value & 1n) === 1n;
const absolute = (value) => (negative(value) ? P - value : value);

function power(base, exponent, modulus = P) {
  let result = 1n;
  for (let square = base, left = exponent; left > 0n; left >>= 1n, square = (square * square) % modulus) {
    if (left & 1n) result = (result * square) % modulus;
  }
  return result;
}

export const inverseScalar = (scalar) => power(scalar, ORDER - 2n, ORDER);

function sqrtRatio(u, v) {
  const v3 = (((v * v) % P) * v) % P;
  const v7 = (((v3 * v3) % P) * v) % P;
  let root = (((u * v3) % P) * power((u * v7) % P, (P - 5n) / 8n)) % P;
  const check = (((v * root) % P) * root) % P;
  const flipped = check === mod(-u);
  if (flipped || check === mod(-u * SQRT_M1)) root = (root * SQRT_M1) % P;
  return [check === u || flipped, absolute(root)];
}

export const IDENTITY = [0n, 1n, 1n, 0n];

export function decode(octets) {
  demand(octets.length === 32, "invalid_element", "length");
  const s = littleEndian(octets);
  demand(s < P && !negative(s), "invalid_element", "not canonical");
  const ss = (s * s) % P;
  const [u1, u2] = [mod(1n - ss), (1n + ss) % P];
  const u2Squared = (u2 * u2) % P;
  const v = mod(-((D * u1) % P) * u1 - u2Squared);
  const [square, root] = sqrtRatio(1n, (v * u2Squared) % P);
  const denX = (root * u2) % P;
  const denY = (((root * denX) % P) * v) % P;
  const x = absolute((2n * s * denX) % P);
  const y = (u1 * denY) % P;
  const t = (x * y) % P;
  demand(square && !negative(t) && y !== 0n, "invalid_element", "no element");
  return [x, y, 1n, t];
}

export function encode([x0, y0, z0, t0]) {
  const u1 = mod((z0 + y0) * (z0 - y0));
  const u2 = (x0 * y0) % P;
  const [, root] = sqrtRatio(1n, (((u1 * u2) % P) * u2) % P);
  const [den1, den2] = [(root * u1) % P, (root * u2) % P];
  const zInverse = (((den1 * den2) % P) * t0) % P;
  const rotate = negative((t0 * zInverse) % P);
  const x = rotate ? (y0 * SQRT_M1) % P : x0;
  let y = rotate ? (x0 * SQRT_M1) % P : y0;
  const den = rotate ? (den1 * INVSQRT_A_MINUS_D) % P : den2;
  if (negative((x * zInverse) % P)) y = mod(-y);
  return toLittleEndian(absolute(mod(den * (z0 - y))), 32);
}

export function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = mod((y1 - x1) * (y2 - x2));
  const b = ((y1 + x1) * (y2 + x2)) % P;
  const c = (((2n * D * t1) % P) * t2) % P;
  const d = (2n * z1 * z2) % P;
  const [e, f, g, h] = [mod(b - a), mod(d - c), (d + c) % P, (b + a) % P];
  return [(e * f) % P, (g * h) % P, (f * g) % P, (e * h) % P];
}

function double([x, y, z]) {
  const a = (x * x) % P;
  const b = (y * y) % P;
  const h = (a + b) % P;
  const e = mod(h - (x + y) * (x + y));
  const g = mod(a - b);
  const f = mod(2n * z * z + g);
  return [(e * f) % P, (g * h) % P, (f * g) % P, (e * h) % P];
}

export function multiply(scalar, point) {
  const table = [IDENTITY, point];
  for (let index = 2; index < 16; index++) table.push(add(table[index - 1], point));
  let result = IDENTITY;
  for (let shift = 252n; shift >= 0n; shift -= 4n) {
    for (let turn = 0; turn < 4; turn++) result = double(result);
    const digit = Number((scalar >> shift) & 15n);
    if (digit) result = add(result, table[digit]);
  }
  return result;
}

const BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960n;
const BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202n;
export const BASE = [BASE_X, BASE_Y, 1n, (BASE_X * BASE_Y) % P];

function map(t) {
  const r = (((SQRT_M1 * t) % P) * t) % P;
  const u = ((r + 1n) * ONE_MINUS_D_SQ) % P;
  const v = mod(mod(-1n - r * D) * mod(r + D));
  let [square, s] = sqrtRatio(u, v);
  let c = P - 1n;
  if (!square) {
    s = mod(-absolute((s * t) % P));
    c = r;
  }
  const n = mod(((c * mod(r - 1n)) % P) * D_MINUS_ONE_SQ - v);
  const ss = (s * s) % P;
  const [w0, w1, w2, w3] = [(2n * s * v) % P, (n * SQRT_AD_MINUS_ONE) % P, mod(1n - ss), (1n + ss) % P];
  return [(w0 * w3) % P, (w2 * w1) % P, (w1 * w3) % P, (w0 * w2) % P];
}

// The element that 64 uniform octets give (RFC 9496 4.3.4).
export function fromUniform(octets) {
  const half = (part) => map((littleEndian(part) & ((1n << 255n) - 1n)) % P);
  return add(half(octets.subarray(0, 32)), half(octets.subarray(32, 64)));
}

export function readScalar(octets) {
  const value = octets.length === 32 ? littleEndian(octets) : refuse("invalid_scalar", "length");
  return value < ORDER ? value : refuse("invalid_scalar");
}

// 5.1: an element is canonical, and not the identity. The zero octets are the identity's.
export function readElement(octets) {
  const point = decode(octets);
  demand(littleEndian(octets) !== 0n, "invalid_element", "identity");
  return point;
}

const known = new Set();

export function checkElement(octets) {
  const name = Buffer.from(octets).toString("latin1");
  if (known.has(name)) return;
  readElement(octets);
  known.add(name);
}
