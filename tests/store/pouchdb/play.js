// Plays histories into PouchDB. Reads one JSON history per line, answers one JSON line each.
//
// A history is {steps: [{new_edits, docs}], ask: {id: [rev]}}; the answer has, for every document asked for, its winner,
// conflicts, deleted conflicts and leaves, and the result of _revs_diff.
"use strict";

const readline = require("node:readline");
const PouchDB = require("pouchdb");
PouchDB.plugin(require("pouchdb-adapter-memory"));

async function leavesOf(db, id) {
  try {
    const found = await db.get(id, { open_revs: "all" });
    return found.filter((one) => one.ok).map((one) => one.ok._rev).sort();
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

async function winnerOf(db, id) {
  const rows = (await db.allDocs({ keys: [id], conflicts: true, include_docs: true })).rows;
  const row = rows[0];
  if (row.error) return { rev: null, deleted: false, conflicts: [] };
  const deleted = Boolean(row.value.deleted);
  const conflicts = !deleted && row.doc._conflicts ? row.doc._conflicts.slice().sort() : [];
  return { rev: row.value.rev, deleted, conflicts };
}

async function play(history, number) {
  const db = new PouchDB(`history-${number}`, { adapter: "memory", auto_compaction: false });
  const edits = [];
  for (const step of history.steps) {
    const results = await db.bulkDocs(step.docs, step.new_edits ? {} : { new_edits: false });
    if (!step.new_edits) continue;
    const { ok, id, rev } = results[0];
    // What the edit became, to be replicated into the store under test: each side computes revision hashes its own way.
    edits.push(ok ? await db.get(id, { rev, revs: true }) : null);
  }
  const answer = { edits, documents: {}, revs_diff: await db.revsDiff(history.ask) };
  for (const id of Object.keys(history.ask)) {
    answer.documents[id] = { ...(await winnerOf(db, id)), leaves: await leavesOf(db, id) };
  }
  await db.destroy();
  return answer;
}

async function main() {
  let number = 0;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await play(JSON.parse(line), number++)) + "\n");
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
