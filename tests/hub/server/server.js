// A server that speaks CouchDB's protocol, databases in memory: server.js PORT (0 takes a free one). Prints its port once
// it listens and ends with its standard input.
//
// As with CouchDB 3, nobody gets in without a password. Two users are known: an admin, who may make databases, and one
// who may only read and write. Databases of the name "quorum…" answer writes of documents with 202, as a cluster does
// that has lost the majority of its nodes.
"use strict";

const express = require("express");
const PouchDB = require("pouchdb");
PouchDB.plugin(require("pouchdb-adapter-memory"));
PouchDB.plugin(require("pouchdb-find"));

const users = { admin: "correct horse", writer: "battery staple" };

function refuse(response, status, error, reason) {
  response.status(status).json({ error, reason });
}

const app = express();
app.use((request, response, next) => {
  // express-pouchdb takes a request without Accept for a browser's, and gzip would hold back a continuous feed.
  if (!request.headers.accept || request.headers.accept === "*/*") request.headers.accept = "application/json";
  delete request.headers["accept-encoding"];
  const [scheme, secret] = (request.headers.authorization || "").split(" ");
  const [, name, password] = /^([^:]*):(.*)$/.exec(Buffer.from(secret || "", "base64").toString()) || [];
  if (scheme !== "Basic") return refuse(response, 401, "unauthorized", "Authentication required.");
  if (users[name] !== password) return refuse(response, 401, "unauthorized", "Name or password is incorrect.");
  const one = /^\/([^/?]+)\/?(?:\?|$)/.exec(request.url);
  if (name !== "admin" && one && ["PUT", "DELETE"].includes(request.method)) {
    return refuse(response, 401, "unauthorized", "You are not a server admin.");
  }
  if (name !== "admin" && request.method === "PUT" && request.url.endsWith("/_security")) {
    return refuse(response, 500, "error", "no_majority");
  }
  if (name !== "admin" && request.method === "POST" && request.url.endsWith("/_index")) {
    return refuse(response, 403, "forbidden", "You are not a db or server admin.");
  }
  if (request.url.startsWith("/quorum") && request.method === "PUT" && !one) {
    const status = response.status.bind(response);
    response.status = (code) => status(code === 201 ? 202 : code);
  }
  next();
});

const Databases = PouchDB.defaults({ adapter: "memory" });
app.use(
  require("express-pouchdb")(Databases, {
    mode: "minimumForPouchDB",
    overrideMode: { include: ["routes/find", "routes/security"] },
    inMemoryConfig: true,
  }),
);
const server = app.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
