// The form of a file of vectors (tests/vectors/protocol/README.md): octets, material, edits, files.
import { readFileSync } from "node:fs";

function edited(octets, edits) {
  return edits.reduce((so, { at, remove, insert }) => so.slice(0, 2 * at) + insert + so.slice(2 * (at + remove)), octets);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const only = (value, ...keys) => Object.keys(value).length > 0 && Object.keys(value).every((key) => keys.includes(key));

export class Vectors {
  constructor(path) {
    const { material = {}, cases } = JSON.parse(readFileSync(path, "utf8"));
    this.cases = cases;
    this.material = Object.fromEntries(Object.entries(material).map(([name, value]) => [name, this.octets(value)]));
  }

  octets(value) {
    if (typeof value === "string") return value;
    if ("text" in value) return Buffer.from(value.text, "utf8").toString("hex");
    return edited(this.material[value.material], value.edits ?? []);
  }

  // `given`, with all octets in hexadecimal; a file is spelt out.
  given(value, key = null) {
    if (key === "file") return this.file(this.likeness(value));
    if (Array.isArray(value)) return value.map((item) => this.given(item));
    if (!isObject(value)) return value;
    if (only(value, "text") || only(value, "material", "edits")) return this.octets(value);
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.given(item, name)]));
  }

  // A file like that of another case, with changes; as it would have been given.
  likeness(value) {
    if (!isObject(value) || !("like" in value)) return value;
    const other = this.cases.find(({ name }) => name === value.like).given.file;
    const changed = structuredClone(this.likeness(other));
    const at = (path) => {
      const keys = path.split("/");
      return [keys.slice(0, -1).reduce((inside, key) => inside[key], changed), keys.at(-1)];
    };
    for (const [path, item] of Object.entries(value.set)) {
      const [inside, last] = at(path);
      inside[last] = item;
    }
    for (const path of value.drop ?? []) {
      const [inside, last] = at(path);
      delete inside[last];
    }
    return changed;
  }

  file(value) {
    if (Array.isArray(value)) return value.map((item) => this.file(item));
    if (!isObject(value)) return value;
    if (only(value, "base64")) return Buffer.from(this.octets(value.base64), "hex").toString("base64");
    if (only(value, "join")) {
      const text = (part) => (typeof part === "string" ? part : Buffer.from(this.octets(part), "hex").toString("utf8"));
      return value.join.map(text).join("");
    }
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.file(item)]));
  }
}
