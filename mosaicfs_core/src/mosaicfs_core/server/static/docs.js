// Draws the OpenAPI description as a page. Text only ever enters as text, so nothing in the description can run.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text in which `this` is code.
function prose(text) {
  return String(text ?? "").split(/`+/).map((part, at) => (at % 2 ? make("code", {}, part) : part));
}

function typeName(schema) {
  if (!schema) return "any";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" | ");
  if (schema.type === "array") return `${typeName(schema.items)}[]`;
  return Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type ?? "any";
}

function bounds(schema) {
  const parts = [];
  if (schema.minimum !== undefined) parts.push(`at least ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`at most ${schema.maximum}`);
  if (schema.maxLength !== undefined) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.join(", ");
}

function fieldRow(name, where, schema, text) {
  const notes = [text, bounds(schema ?? {})].filter(Boolean).join(" ");
  return make("tr", {}, make("td", {}, make("code", {}, name)), make("td", {}, where),
    make("td", {}, make("code", {}, typeName(schema))), make("td", {}, ...prose(notes)));
}

function table(headings, rows) {
  if (!rows.length) return null;
  const head = make("thead", {}, make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text))));
  return make("table", {}, head, make("tbody", {}, ...rows));
}

function resolve(schema, description) {
  if (!schema?.$ref) return schema ?? {};
  return description.components.schemas[schema.$ref.split("/").pop()] ?? {};
}

function jsonSchemaOf(part) {
  return part?.content?.["application/json"]?.schema;
}

function inputRows(operation, description) {
  const rows = (operation.parameters ?? []).map((parameter) =>
    fieldRow(parameter.name, parameter.in, parameter.schema, parameter.description));
  const body = resolve(jsonSchemaOf(operation.requestBody), description);
  for (const [name, schema] of Object.entries(body.properties ?? {})) {
    const needed = (body.required ?? []).includes(name) ? "body, required" : "body";
    rows.push(fieldRow(name, needed, schema, schema.description));
  }
  return rows;
}

function answerRows(operation) {
  return Object.entries(operation.responses ?? {}).map(([status, answer]) =>
    make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, ...prose(answer.description)),
      make("td", {}, make("code", {}, typeName(jsonSchemaOf(answer))))));
}

function operationBlock(method, path, operation, description) {
  const open = operation.security?.length === 0;
  const title = make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), " ",
    make("code", {}, path), " ", make("span", { class: "summary" }, operation.summary ?? ""));
  const block = make("details", {}, title,
    operation.description ? make("p", {}, ...prose(operation.description)) : null,
    make("p", { class: "quiet" }, open ? "Public." : "Needs a key."),
    table(["Field", "In", "Type", "Meaning"], inputRows(operation, description)),
    table(["Status", "Meaning", "Body"], answerRows(operation)));
  block.dataset.words = `${method} ${path} ${operation.summary ?? ""}`.toLowerCase();
  return block;
}

function draw(description) {
  document.getElementById("title").textContent = `${description.info.title} API ${description.info.version}`;
  document.getElementById("about").replaceChildren(...prose(description.info.description));
  const groups = new Map();
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const method of METHODS) {
      const operation = operations[method];
      if (!operation) continue;
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationBlock(method, path, operation, description));
    }
  }
  const meanings = new Map((description.tags ?? []).map((tag) => [tag.name, tag.description]));
  const sections = [...groups].sort().map(([tag, blocks]) =>
    make("section", {}, make("h2", {}, tag), make("p", { class: "quiet" }, ...prose(meanings.get(tag))), ...blocks));
  document.getElementById("operations").replaceChildren(...sections);
}

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const block of document.querySelectorAll("details")) {
    block.hidden = !words.every((word) => block.dataset.words.includes(word));
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details:not([hidden])");
  }
});

fetch("/api/openapi.json").then((answer) => answer.json()).then(draw).catch((error) => {
  document.getElementById("about").textContent = `The description could not be loaded: ${error.message}`;
});
