// Reads the vectors of the protocol: node read.mjs [--json] FOLDER. Exit status 1 if a case fails.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Refusal } from "./octets.mjs";
import { OPERATIONS } from "./operations.mjs";
import { Vectors } from "./vectors.mjs";

// As a value is compared: keys sorted, texts in NFC, fields of a record in order.
function normal(value, key = null) {
  if (typeof value === "string") return value.normalize("NFC");
  if (Array.isArray(value)) {
    const items = value.map((item) => normal(item));
    return key === "fields" ? items.sort((one, other) => (one.name < other.name ? -1 : 1)) : items;
  }
  if (value === null || typeof value !== "object") return value;
  const keys = Object.keys(value).sort();
  return Object.fromEntries(keys.map((name) => [name, normal(value[name], name)]));
}

const exact = (value) => JSON.stringify(value, (_, item) => {
  if (item === null || typeof item !== "object" || Array.isArray(item)) return item;
  return Object.fromEntries(Object.keys(item).sort().map((name) => [name, item[name]]));
});

function outcome(operation, given) {
  try {
    return { expect: operation.run(given) };
  } catch (error) {
    if (error instanceof Refusal) return { refuse: error.code };
    throw error;
  }
}

// What is wrong with a case; null if nothing is, undefined if it is not covered.
function judge(vectors, one) {
  const operation = OPERATIONS[one.operation];
  if (operation === undefined || one.comment.startsWith("plan:")) return undefined;
  const given = vectors.given(one.given);
  const due = "refuse" in one ? { refuse: one.refuse } : { expect: one.expect };
  const got = outcome(operation, given);
  if (exact(got) !== exact(due)) return `expected ${exact(due).slice(0, 200)}, not ${exact(got).slice(0, 200)}`;
  if (operation.back === undefined || "refuse" in one) return null;
  const back = operation.back(one.expect, given);
  const wrong = Object.keys(back).filter((name) => exact(normal(back[name], name)) !== exact(normal(given[name], name)));
  return wrong.length === 0 ? null : `backwards: ${wrong.join(", ")}`;
}

function readFile(path, name) {
  const vectors = new Vectors(path);
  const result = { file: name, passed: 0, failed: [], notCovered: [] };
  for (const one of vectors.cases) {
    let wrong;
    try {
      wrong = judge(vectors, one);
    } catch (error) {
      wrong = String(error.stack ?? error).split("\n").slice(0, 4).join(" ");
    }
    if (wrong === null) result.passed++;
    else if (wrong === undefined) result.notCovered.push({ case: one.name, operation: one.operation, plan: one.comment.startsWith("plan:") });
    else result.failed.push({ case: one.name, operation: one.operation, wrong });
  }
  return result;
}

const json = process.argv.includes("--json");
const [folder] = process.argv.slice(2).filter((word) => word !== "--json");
const names = readdirSync(folder).filter((name) => name.endsWith(".json") && name !== "schema.json").sort();
const results = names.map((name) => readFile(join(folder, name), name));
if (json) {
  console.log(JSON.stringify({ files: results }));
} else {
  for (const { file, passed, failed, notCovered } of results) {
    console.log(`${file}: ${passed} passed, ${failed.length} failed, ${notCovered.length} not covered`);
    failed.forEach(({ case: name, operation, wrong }) => console.log(`  ${operation} ${name}: ${wrong}`));
  }
}
process.exitCode = results.length > 0 && results.every(({ failed }) => failed.length === 0) ? 0 : 1;
