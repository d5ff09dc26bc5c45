// Witness requests and answers, and proofs of entries (C2SP tlog-witness, tlog-proof; protocol.md 15.3, 16.1).
import { demand, refusalOf, refuse, same, textOf } from "./octets.mjs";
import { EMPTY_ROOT, leafHash, verifyConsistency, verifyInclusion } from "./merkle.mjs";
import { base64, decimal, linesOf, readCheckpoint, readSignatureLines, signedText, toBase64, verifyLog } from "./note.mjs";
import { checkOrder, timeOfWitness, verifyLogs } from "./policy.mjs";

const MOST_HASHES = 63;

// Lines of `text` up to an empty one, each but the first `count` a hash; and the checkpoint behind it.
function linesAndCheckpoint(octets, count) {
  const text = textOf(octets);
  const end = text.indexOf("\n\n");
  demand(end >= 0, "malformed_message", "no empty line");
  const lines = text.slice(0, end).split("\n");
  const hashes = lines.slice(count);
  demand(hashes.length <= MOST_HASHES, "limit_exceeded", "hashes");
  const read = hashes.map((line) => {
    const hash = base64(line);
    return hash.length === 32 ? hash : refuse("malformed_message", "hash");
  });
  return { lines: lines.slice(0, count), hashes: read, checkpoint: readCheckpoint(Buffer.from(text.slice(end + 2))) };
}

const numberBehind = (word, line) => {
  demand(line !== undefined && line.startsWith(word + " "), "malformed_message", word);
  return decimal(line.slice(word.length + 1));
};
const hashLines = (hashes) => hashes.map((hash) => toBase64(hash) + "\n").join("");

export function readRequest(octets) {
  const { lines, hashes, checkpoint } = linesAndCheckpoint(octets, 1);
  return { oldSize: numberBehind("old", lines[0]), hashes, checkpoint };
}

export const requestText = ({ oldSize, hashes, checkpoint }) => `old ${oldSize}\n${hashLines(hashes)}\n${signedText(checkpoint)}`;

// What a witness answers that has cosigned `latest` last.
export function judge(octets, origin, keys, latest) {
  const answer = (status, body = "", type = "text/plain; charset=utf-8") => ({ status, body, content_type: type, accepted: status === 200 });
  if (refusalOf(() => readRequest(octets)) !== null) return answer(400);
  const { oldSize, hashes, checkpoint } = readRequest(octets);
  if (checkpoint.origin !== origin) return answer(404);
  if (refusalOf(() => verifyLog(checkpoint, keys)) !== null) return answer(403);
  if (oldSize > checkpoint.size) return answer(400);
  const known = latest?.size ?? 0n;
  if (oldSize !== known) return answer(409, `${known}\n`, "text/x.tlog.size");
  const emptyRight = checkpoint.size > 0n || same(checkpoint.root, EMPTY_ROOT);
  const consistent = () => verifyConsistency(oldSize, checkpoint.size, hashes, latest?.root ?? EMPTY_ROOT, checkpoint.root);
  return answer(emptyRight && refusalOf(consistent) === null ? 200 : 422);
}

const REFUSALS = { 400: "malformed_message", 403: "signature_invalid", 404: "unknown_object", 422: "log_inconsistent" };

export function readResponse(status, body) {
  if (status !== 200 && status !== 409) return refuse(REFUSALS[status] ?? "unreachable");
  const lines = linesOf(textOf(body));
  if (status === 200) return { signatures: readSignatureLines(lines), size: null };
  demand(lines.length === 1, "malformed_message", "size");
  return { signatures: [], size: decimal(lines[0]) };
}

const PROOF = "c2sp.org/tlog-proof@v1";

export function readProof(octets) {
  const { lines, hashes, checkpoint } = linesAndCheckpoint(octets, 2);
  demand(lines[0] === PROOF, "malformed_message", "version of a proof");
  return { index: numberBehind("index", lines[1]), hashes, checkpoint };
}

export const proofText = ({ index, hashes, checkpoint }) => `${PROOF}\nindex ${index}\n${hashLines(hashes)}\n${signedText(checkpoint)}`;

// The time of witness of the proof's head, in seconds.
export function verifyProof(proof, entry, policy, now) {
  verifyLogs(policy, proof.checkpoint);
  checkOrder(policy, proof.checkpoint);
  const seconds = timeOfWitness(policy, proof.checkpoint, now);
  verifyInclusion(leafHash(entry), proof.index, proof.checkpoint.size, proof.hashes, proof.checkpoint.root);
  return seconds;
}
