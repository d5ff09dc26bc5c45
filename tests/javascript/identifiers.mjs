// Identifiers and the names in certificates (protocol.md 2).
import { demand, refuse } from "./octets.mjs";

const FORMS = {
  federation: /^(?=.{3,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
  node: /^(?=.{1,40}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$/,
  ori: /^[A-Z]{2}[A-Z0-9]{6}[0-9ABCEGIJ]$/,
};
const ROLES_WITH_ID = ["node", "credentialing-body", "auditor"];
const ROLES = ["hub", "hub/directory"];

export function checkIdentifier(kind, text) {
  demand(FORMS[kind].test(text), "malformed_message", kind);
}

export function certificateName(federation, role, id) {
  checkIdentifier("federation", federation);
  if (id === null) return `spiffe://${federation}/${role}`;
  checkIdentifier("node", id);
  return `spiffe://${federation}/${role}/${id}`;
}

export function readCertificateName(uri) {
  const [, federation, path] = /^spiffe:\/\/([^/]*)\/([^]*)$/.exec(uri) ?? refuse("malformed_message", "URI");
  checkIdentifier("federation", federation);
  if (ROLES.includes(path)) return { federation, role: path, id: null };
  const role = ROLES_WITH_ID.find((name) => path.startsWith(name + "/")) ?? refuse("malformed_message", "role");
  const id = path.slice(role.length + 1);
  checkIdentifier("node", id);
  return { federation, role, id };
}
