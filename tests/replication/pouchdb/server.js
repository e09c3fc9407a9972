// A CouchDB-like server on a free port of 127.0.0.1, databases in memory. Prints the port once it listens; ends with its
// standard input.
"use strict";

const express = require("express");
const PouchDB = require("pouchdb");
PouchDB.plugin(require("pouchdb-adapter-memory"));
PouchDB.plugin(require("pouchdb-find"));

const app = express();
app.use((request, response, next) => {
  // express-pouchdb answers 406 without the first, and compression holds back a continuous feed.
  if (!request.headers.accept) request.headers.accept = "application/json";
  delete request.headers["accept-encoding"];
  next();
});

// `?filter=_selector` crashes express-pouchdb: the selector of the body is evaluated here, over a plain feed.
app.post("/:db/_changes", express.json(), async (request, response, next) => {
  if (request.query.filter !== "_selector") return next();
  const db = new Databases(decodeURIComponent(request.params.db));
  const { since = 0, limit } = request.query;
  const options = { since: Number(since), style: "all_docs", selector: request.body.selector };
  if (limit !== undefined) options.limit = Number(limit);
  response.json(await db.changes(options));
});

const Databases = PouchDB.defaults({ adapter: "memory" });
app.use(
  "/",
  require("express-pouchdb")(Databases, {
    mode: "minimumForPouchDB",
    overrideMode: { include: ["routes/find"] },
    inMemoryConfig: true,
  }),
);
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
