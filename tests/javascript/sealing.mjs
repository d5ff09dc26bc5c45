// Sealing: HPKE with X-Wing (protocol.md 4.3).
import { createHmac, createPrivateKey, createPublicKey, diffieHellman } from "node:crypto";
import { H, concat, cut, demand, fromHex, hex, number, refuse, sha3_256, u16, u8, utf8 } from "./octets.mjs";
import { fixed, message, octets, record } from "./canonical.mjs";
import { openGcm } from "./segment.mjs";
import { checkPublicKey, decapsulate, keysOf } from "./ml_kem.mjs";

const SUITE = concat(utf8("HPKE"), u16(0x647a), u16(1), u16(1));
const [ML_KEM_KEY, CIPHERTEXT, X25519] = [1184, 1088, 32];
const LENGTHS = { "disclosure-request": 8192, "disclosure-response": 65536, "recall-notice": 65536, "recall-ack": 1024 };
const privateX25519 = (scalar) => createPrivateKey({ key: concat(fromHex("302e020100300506032b656e04220420"), scalar), format: "der", type: "pkcs8" });
const publicX25519 = (key) => createPublicKey({ key: concat(fromHex("302a300506032b656e032100"), key), format: "der", type: "spki" });
const publicOf = (scalar) => createPublicKey(privateX25519(scalar)).export({ format: "der", type: "spki" }).subarray(-X25519);

// The secret that both share; `code` where there is none, for it would be zero.
function agree(scalar, share, code) {
  try {
    return diffieHellman({ privateKey: privateX25519(scalar), publicKey: publicX25519(share) });
  } catch {
    return refuse(code, "X25519 of low order");
  }
}

function readPrivate(key) {
  demand(key.length === 96, "malformed_message", "length of a private key");
  const [seed, scalar] = cut(key, 64, 32);
  return { mlKem: keysOf(seed), scalar };
}

export function publicKeyOf(privateKey) {
  const { mlKem, scalar } = readPrivate(privateKey);
  return concat(mlKem.publicKey, publicOf(scalar));
}

export function checkDisclosureKey(key) {
  demand(key.length === ML_KEM_KEY + X25519, "malformed_message", "length of a public key");
  checkPublicKey(key.subarray(0, ML_KEM_KEY));
  agree(Buffer.alloc(32, 64), key.subarray(ML_KEM_KEY), "malformed_message");
}

export function sealInfo({ federation, kind, envelopeId, sender, recipient, binding }) {
  return H("seal", utf8(federation), utf8(kind), envelopeId, utf8(sender), utf8(recipient), binding);
}

const hmac = (key, ...parts) => createHmac("sha256", key).update(concat(...parts)).digest();
const extract = (salt, label, input) => hmac(salt, utf8("HPKE-v1"), SUITE, utf8(label), input);
const expand = (secret, label, info, length) => hmac(secret, u16(length), utf8("HPKE-v1"), SUITE, utf8(label), info, u8(1)).subarray(0, length);

// The plaintext, and the secrets on the way to it.
export function open(privateKey, info, sealed) {
  const { mlKem, scalar } = readPrivate(privateKey);
  demand(sealed.length >= CIPHERTEXT + X25519 + 16, "sealed_data_invalid", "length");
  const [ciphertext, share] = cut(sealed, CIPHERTEXT, X25519);
  const mlKemSecret = decapsulate(mlKem, ciphertext);
  const x25519Secret = agree(scalar, share, "sealed_data_invalid");
  const kemSecret = sha3_256(mlKemSecret, x25519Secret, share, publicOf(scalar), fromHex("5c2e2f2f5e5c"));
  const nothing = Buffer.alloc(0);
  const context = concat(u8(0), extract(nothing, "psk_id_hash", nothing), extract(nothing, "info_hash", info));
  const secret = extract(kemSecret, "secret", nothing);
  const [key, nonce] = [expand(secret, "key", context, 16), expand(secret, "base_nonce", context, 12)];
  const plain = openGcm(key, nonce, nothing, sealed.subarray(CIPHERTEXT + X25519));
  return { plain, mlKemSecret, x25519Secret, kemSecret };
}

const statement = message(null, record([["body", octets(1 << 17)], ["signature", fixed(64)]]));

export function unseal(privateKey, envelope, sealed) {
  const length = LENGTHS[envelope.kind] ?? refuse("malformed_message", "kind");
  demand(sealed.length === length + 1136, "sealed_data_invalid", "length");
  const { plain, ...secrets } = open(privateKey, sealInfo(envelope), sealed);
  const end = 4 + Number(number(plain.subarray(0, 4)));
  demand(end <= plain.length, "sealed_data_invalid", "length inside");
  demand(plain.subarray(end).every((octet) => octet === 0), "sealed_data_invalid", "padding");
  return { ...statement.decode(plain.subarray(4, end)), ...secrets };
}

export const shownSecrets = ({ mlKemSecret, x25519Secret, kemSecret }) => ({
  ml_kem_shared_secret: hex(mlKemSecret), x25519_shared_secret: hex(x25519Secret), kem_shared_secret: hex(kemSecret),
});
