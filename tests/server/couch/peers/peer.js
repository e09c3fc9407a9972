// A peer for tests: PouchDB with databases in memory, the same databases served over CouchDB's protocol by
// express-pouchdb, and PouchDB's replicator between any two of them and any address.
//
// Prints {"url"} once it serves; then reads one JSON command per line and answers one JSON line each, in order:
//   {do: "auth", url, headers}              send these headers with every request to addresses that begin with url
//   {do: "fill", db, docs}                  write revisions as they are
//   {do: "edit", db, docs}                  write new revisions over what is there; answers [{id, rev}]
//   {do: "replicate", source, target, options}   answers the replicator's result
//   {do: "sync", one, other}                replicate both ways for ever
//   {do: "leaves", db}                      answers {id: [revisions of all leaves, sorted]}
//   {do: "winners", db, ids}                answers {id: {rev, deleted}}
//   {do: "await", db, revs}                 answers once db has had each of revs ({id: rev}) as its winner
"use strict";

const readline = require("node:readline");
const express = require("express");
const Plain = require("pouchdb");
Plain.plugin(require("pouchdb-adapter-memory"));
Plain.plugin(require("pouchdb-find"));

const secrets = [];

function fetchWith(url, options) {
  for (const [prefix, given] of secrets) {
    if (!String(url).startsWith(prefix)) continue;
    for (const [name, value] of Object.entries(given)) options.headers.set(name, value);
  }
  return Plain.fetch(url, options);
}

// As the preference and not as a default option, which would make a database in memory of an address too.
Plain.preferredAdapters.splice(0, Plain.preferredAdapters.length, "memory");
const PouchDB = Plain.defaults({ auto_compaction: true, fetch: fetchWith });
const open = new Map();

function db(name) {
  if (!open.has(name)) open.set(name, new PouchDB(name));
  return open.get(name);
}

async function leaves(database) {
  const found = {};
  const changes = await database.changes({ style: "all_docs", since: 0 });
  for (const row of changes.results) found[row.id] = row.changes.map((one) => one.rev).sort();
  return found;
}

function hasHad(database, revs) {
  return new Promise((resolve, reject) => {
    const missing = new Map(Object.entries(revs));
    const feed = database.changes({ live: true, since: 0 });
    feed.on("error", reject);
    feed.on("change", (row) => {
      if (row.changes.some((one) => one.rev === missing.get(row.id))) missing.delete(row.id);
      if (missing.size) return;
      feed.cancel();
      resolve(true);
    });
  });
}

const commands = {
  async auth({ url, headers }) {
    secrets.push([url, headers]);
  },
  async fill({ db: name, docs }) {
    const results = await db(name).bulkDocs(docs, { new_edits: false });
    return results.filter((one) => one.error);
  },
  async edit({ db: name, docs }) {
    const known = await db(name).allDocs({ keys: docs.map((doc) => doc._id) });
    const edits = docs.map((doc, index) => ({ ...doc, _rev: known.rows[index].value.rev }));
    return (await db(name).bulkDocs(edits)).map(({ id, rev }) => ({ id, rev }));
  },
  async replicate({ source, target, options }) {
    const result = await PouchDB.replicate(db(source), db(target), options || {});
    return { ...result, errors: result.errors.map(String) };
  },
  async sync({ one, other }) {
    db(one).sync(db(other), { live: true, retry: true });
  },
  async leaves({ db: name }) {
    return leaves(db(name));
  },
  async winners({ db: name, ids }) {
    const { rows } = await db(name).allDocs({ keys: ids });
    return Object.fromEntries(
      rows.map((row) => [row.key, row.value ? { rev: row.value.rev, deleted: Boolean(row.value.deleted) } : null]),
    );
  },
  async await({ db: name, revs }) {
    return hasHad(db(name), revs);
  },
};

function serve() {
  const app = express();
  app.use((request, response, next) => {
    // express-pouchdb takes a request without Accept for a browser's, and gzip would hold back a continuous feed.
    if (!request.headers.accept || request.headers.accept === "*/*") request.headers.accept = "application/json";
    delete request.headers["accept-encoding"];
    next();
  });
  const include = ["routes/find", "routes/replicate"];
  app.use(
    require("express-pouchdb")(PouchDB, {
      mode: "minimumForPouchDB",
      overrideMode: { include },
      inMemoryConfig: true,
    }),
  );
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

async function main() {
  const port = await serve();
  process.stdout.write(JSON.stringify({ url: `http://127.0.0.1:${port}` }) + "\n");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let answer;
    try {
      answer = { ok: (await commands[command.do](command)) ?? null };
    } catch (error) {
      answer = { error: String(error.stack || error.message || JSON.stringify(error)), status: error.status };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
