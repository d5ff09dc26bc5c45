// RFC 9497, VOPRF mode, ristretto255-SHA512 (protocol.md 5.1, 5.2).
import { concat, demand, littleEndian, refuse, sha512, toLittleEndian, u8, u16, utf8 } from "./octets.mjs";
import { ORDER, BASE, add, decode, encode, fromUniform, IDENTITY, inverseScalar, multiply, readElement, readScalar } from "./ristretto.mjs";

const CONTEXT = concat(utf8("OPRFV1-"), u8(1), utf8("-ristretto255-SHA512"));
const MOST_ELEMENTS = 4096;

// expand_message_xmd of RFC 9380 with SHA-512, for 64 octets.
function expand(message, tag) {
  const suffix = concat(tag, u8(tag.length));
  const first = sha512(Buffer.alloc(128), message, u16(64), u8(0), suffix);
  return sha512(first, u8(1), suffix);
}

export const hashToGroup = (input) => fromUniform(expand(input, concat(utf8("HashToGroup-"), CONTEXT)));
const hashToScalar = (input, tag = concat(utf8("HashToScalar-"), CONTEXT)) => littleEndian(expand(input, tag)) % ORDER;
const counted = (octets) => concat(u16(octets.length), octets);
const scalarOctets = (scalar) => toLittleEndian(scalar, 32);

export function nonZeroScalar(octets) {
  const scalar = readScalar(octets);
  return scalar === 0n ? refuse("invalid_scalar", "zero") : scalar;
}

export function deriveKeyPair(seed, info) {
  const input = concat(seed, counted(info));
  for (let counter = 0; counter < 256; counter++) {
    const secret = hashToScalar(concat(input, u8(counter)), concat(utf8("DeriveKeyPair"), CONTEXT));
    if (secret !== 0n) return { secret: scalarOctets(secret), public: encode(multiply(secret, BASE)) };
  }
  return refuse("internal");
}

export function blind(input, blindOctets) {
  const scalar = nonZeroScalar(blindOctets);
  return encode(multiply(scalar, hashToGroup(input)));
}

const output = (input, element) => sha512(counted(input), counted(element), utf8("Finalize"));

export function evaluate(secret, input) {
  return output(input, encode(multiply(nonZeroScalar(secret), hashToGroup(input))));
}

// The weighted sums of both lists under the seed that they and the public key give.
function composites(publicKey, elements, evaluated) {
  const seed = sha512(counted(publicKey), counted(concat(utf8("Seed-"), CONTEXT)));
  let [m, z] = [IDENTITY, IDENTITY];
  elements.forEach((element, index) => {
    const octets = concat(counted(seed), u16(index), counted(element), counted(evaluated[index]), utf8("Composite"));
    const weight = hashToScalar(octets);
    m = add(m, multiply(weight, decode(element)));
    z = add(z, multiply(weight, decode(evaluated[index])));
  });
  return [m, z];
}

function challenge(publicKey, m, z, t2, t3) {
  return hashToScalar(concat(...[publicKey, ...[m, z, t2, t3].map(encode)].map(counted), utf8("Challenge")));
}

export function blindEvaluate(secretOctets, elements, nonce) {
  const secret = nonZeroScalar(secretOctets);
  const random = nonZeroScalar(nonce);
  demand(elements.length > 0, "malformed_message", "no element");
  demand(elements.length <= MOST_ELEMENTS, "batch_too_large");
  const evaluated = elements.map((element) => encode(multiply(secret, readElement(element))));
  const publicKey = encode(multiply(secret, BASE));
  const [m, z] = composites(publicKey, elements, evaluated);
  const c = challenge(publicKey, m, z, multiply(random, BASE), multiply(random, m));
  const s = (((random - c * secret) % ORDER) + ORDER) % ORDER;
  return { public: publicKey, evaluated, proof: concat(scalarOctets(c), scalarOctets(s)) };
}

export function verifyProof(publicKey, elements, evaluated, proof) {
  demand(elements.length === evaluated.length && elements.length > 0, "malformed_message", "counts");
  const key = readElement(publicKey);
  [...elements, ...evaluated].forEach(readElement);
  const [c, s] = [readScalar(proof.subarray(0, 32)), readScalar(proof.subarray(32))];
  const [m, z] = composites(publicKey, elements, evaluated);
  const t2 = add(multiply(s, BASE), multiply(c, key));
  const t3 = add(multiply(s, m), multiply(c, z));
  demand(challenge(publicKey, m, z, t2, t3) === c, "proof_invalid");
}

// The outputs F, without the proof.
export function unblind(inputs, blinds, evaluated) {
  return inputs.map((input, index) => {
    const scalar = inverseScalar(nonZeroScalar(blinds[index]));
    return output(input, encode(multiply(scalar, readElement(evaluated[index]))));
  });
}

export function finalize(publicKey, inputs, blinds, evaluated, proof) {
  demand(inputs.length === blinds.length && inputs.length === evaluated.length, "malformed_message", "counts");
  const elements = inputs.map((input, index) => blind(input, blinds[index]));
  verifyProof(publicKey, elements, evaluated, proof);
  return unblind(inputs, blinds, evaluated);
}

