#!/usr/bin/env node
// Says which colours a text names: an annotator for MosaicFS that stays and listens on a socket. It uses Node alone.
//
//     mkdir -p -m 700 ~/.local/share/mosaicfs/run/plugin-sockets
//     node colour-names.mjs ~/.local/share/mosaicfs/run/plugin-sockets/colour-names.sock
//     mosaicfs plugin enable colour-names --mime 'text/*' --answers colours
import { readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const COLOURS = ["red", "green", "blue", "yellow", "black", "white"];
const found = new Map(); // file id -> colours, for the questions

const answers = {
  async event({ event, sequence, payload }) {
    if (event === "file.deleted" || !payload.local_path) {
      found.delete(payload.file_id);
      return { ack: sequence };
    }
    const text = (await readFile(payload.local_path, "utf8")).toLowerCase();
    const colours = COLOURS.filter((colour) => new RegExp(`\\b${colour}\\b`).test(text));
    found.set(payload.file_id, colours);
    return { ack: sequence, annotation: { colours } };
  },
  query({ request_id, payload }) {
    const results = [...found]
      .filter(([, colours]) => colours.includes(String(payload.query)))
      .map(([file_id, colours]) => ({ file_id, score: 1 / colours.length }));
    return { request_id, result: { results: results.slice(0, payload.limit) } };
  },
  health_check: ({ request_id }) => ({ request_id, result: { status: "healthy", detail: `${found.size} files` } }),
};

const path = process.argv[2];
await rm(path, { force: true });
createServer((connection) => {
  const say = (message) => connection.write(JSON.stringify(message) + "\n");
  const lines = createInterface({ input: connection });
  for (const side of [connection, lines]) side.on("error", () => connection.destroy()); // the host went away, and comes again
  say({ hello: { hook_api: 1, name: "colour-names", answers: ["health_check"] } });
  lines.on("line", async (line) => {
    const message = JSON.parse(line);
    const answer = message.sequence === undefined ? answers[message.event] : answers.event;
    if (!answer) return; // hello, config, and what a newer host may say
    try {
      say(await answer(message));
    } catch (error) {
      const whose = message.sequence === undefined ? { request_id: message.request_id } : { ack: message.sequence };
      say({ ...whose, error: String(error) });
    }
  });
}).listen(path, () => console.log("listening"));
