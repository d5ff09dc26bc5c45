// State tables, results, quotas and the codes of errors (protocol.md 7.7, 7.8, 9.6, 9.11, 11, 12).
import { demand } from "./octets.mjs";
import { CLASSES, SLOTS } from "./statements.mjs";

const row = (state, nexts) => Object.entries(nexts).map(([event, next]) => ({ state, event, next }));
const TARGET_EVENTS = { evaluated: "answered", refused: "refused", quota: "quota", "stale epoch": "stale epoch", invalid: "invalid answer", expires: "expired" };
const TARGET_STATES = ["answered", "refused", "quota", "stale epoch", "expired", "stale index", "no index", "unknown scheme"];
const staying = (state) => Object.fromEntries(Object.keys(TARGET_EVENTS).map((event) => [event, state]));
const OWNER_ENDS = { "no member any more": "undeliverable", "overtaken by destruction": "superseded" };
const requester = { "response opens": "opened", "response declines": "declined", "response invalid": "invalid", expires: "expired", "recall destroys": "recalled" };
const acknowledged = { "acknowledged: acted": "acted", "acknowledged: read": "read" };

export const TABLES = {
  target: [
    ...row("pending", TARGET_EVENTS), ...row("invalid answer", TARGET_EVENTS), ...TARGET_STATES.flatMap((state) => row(state, staying(state))),
  ],
  lookup: [
    ...row("draft", { store: "stored" }), ...row("stored", { "hub accepts": "accepted", "hub denies": "denied", "life ends": "closed" }),
    ...row("accepted", { "hub accepts": "accepted", show: "shown", "life ends": "closed" }),
    ...row("shown", { "hub accepts": "shown", show: "shown", "life ends": "closed" }),
  ],
  "disclosure-owner": [
    ...row("received", { "rule releases": "released", "rule waits": "waiting", declines: "declined", expires: "expired" }),
    ...row("waiting", { "person approves": "released", declines: "declined", expires: "expired" }),
  ],
  "disclosure-requester": [...row("sent", requester), ...row("invalid", requester), ...row("opened", { "recall destroys": "recalled" })],
  "recall-owner": [
    ...row("pending", { sends: "sent", ...OWNER_ENDS }), ...row("sent", { sends: "sent", ...acknowledged, ...OWNER_ENDS }),
    ...row("acted", acknowledged), ...row("read", { "acknowledged: acted": "read", "acknowledged: read": "read" }),
    ...row("undeliverable", { sends: "sent", ...acknowledged, ...OWNER_ENDS }),
    ...row("superseded", { "acknowledged: acted": "superseded", "acknowledged: read": "superseded" }),
  ],
  "recall-recipient": [...row("applied", { "the notice again": "applied", "a person reads": "read" }), ...row("read", { "the notice again": "read" })],
};

export function overall(targets, setAside) {
  if (setAside.some((aside) => !aside)) return "MATCH";
  return targets.every(({ state }) => state === "answered") ? "NO_RECORD" : "INCOMPLETE";
}

const HOUR = 3600000n;
const WINDOWS = [[24n * HOUR, 10], [720n * HOUR, 1]];
const LIMITS = { all: 40000, W: 10000, M: 30000, C: 24000 };

export function lookupCost(shape, persons) {
  if (persons === 0) return { W: 0, M: 1, C: 0 };
  return Object.fromEntries(CLASSES.map((name) => [name, SLOTS[shape][name] * persons]));
}

const inAll = (use) => CLASSES.reduce((sum, name) => sum + use[name], 0);

export function quotaLeft(uses, now) {
  const used = (window, name) =>
    uses.filter(({ hour }) => now < BigInt(hour) + HOUR + window).reduce((sum, use) => sum + (name === "all" ? inAll(use) : use[name]), 0);
  const left = (name) => Math.min(...WINDOWS.map(([window, share]) => LIMITS[name] / share - used(window, name)));
  return Object.fromEntries(Object.keys(LIMITS).map((name) => [name, Math.max(0, left(name))]));
}

export function spendQuota(uses, now, wanted) {
  const left = quotaLeft(uses, now);
  demand(inAll(wanted) <= left.all && CLASSES.every((name) => wanted[name] <= left[name]), "quota_spent");
}

const STATUSES = {
  INVALID_ARGUMENT: "malformed_message not_canonical unsupported_version invalid_element invalid_scalar input_invalid config_invalid",
  OUT_OF_RANGE: "limit_exceeded batch_too_large",
  RESOURCE_EXHAUSTED: "quota_spent",
  DATA_LOSS: "signature_invalid proof_invalid key_mismatch commitment_mismatch not_evidence sealed_data_invalid rollback gate_closed log_inconsistent",
  FAILED_PRECONDITION: "expired not_yet_valid stale_epoch clock_wrong not_logged log_unwitnessed wrong_standing second_person_needed went_back",
  ALREADY_EXISTS: "replayed conflicting_resubmission already_exists",
  UNAUTHENTICATED: "not_authenticated certificate_refused certificate_revoked invitation_invalid",
  PERMISSION_DENIED: "not_a_member member_suspended wrong_role identity_mismatch wrong_recipient purpose_refused",
  NOT_FOUND: "unknown_object",
  UNAVAILABLE: "unreachable deny_list_stale",
  INTERNAL: "store_unusable curve_library_missing illegal_transition internal",
};

export const errorStatus = (code) => Object.keys(STATUSES).find((status) => STATUSES[status].split(" ").includes(code)) ?? "INTERNAL";
