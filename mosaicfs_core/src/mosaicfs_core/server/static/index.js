// Shows what runs here, and signs in: by the session's cookie, a one-time link (#bootstrap=TOKEN), or an access key.
"use strict";

let token = null;
const byId = (id) => document.getElementById(id);

async function ask(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token !== null) headers["Authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin",
  });
  const data = await answer.json();
  if (!answer.ok && data.error) throw Object.assign(new Error(data.error.message), { status: answer.status });
  return data;
}

function say(text) {
  byId("message").textContent = text;
}

async function showHealth() {
  const health = await ask("GET", "/api/health");
  const parts = Object.entries(health.subsystems).map(([name, part]) => `${name} ${part.status}`);
  byId("health").textContent = `It is ${health.status} (${parts.join(", ")}).`;
  byId("health").dataset.status = health.status;
}

function fact(name, value) {
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  byId("fact-list").append(term, text);
}

async function showFacts() {
  const info = await ask("GET", "/api/system/info");
  const me = await ask("GET", "/api/auth/whoami");
  byId("fact-list").replaceChildren();
  fact("Version", info.version);
  fact("Files", (info.documents.file ?? 0).toLocaleString());
  fact("Node", info.node_id);
  fact("Instance", info.instance_id);
  fact("Running since", new Date(info.started_at).toLocaleString());
  fact("Plugins", Object.entries(info.plugins).map(([name, status]) => status === "ok" ? name : `${name} (${status})`).join(", "));
  const { jobs } = (await ask("GET", `/api/nodes/${info.node_id}/status`)).subsystems;
  if (jobs?.detail) fact(jobs.status === "healthy" ? "Files that failed" : "Plugins that fail", jobs.detail);
  fact("Signed in as", me.name);
  byId("facts").hidden = false;
  byId("sign-in").hidden = true;
}

async function signedIn(session) {
  token = session.access_token;
  if (session.created) {
    byId("created-key").textContent = session.created.access_key_id;
    byId("created-secret").textContent = session.created.secret_key;
    byId("created").hidden = false;
  }
  await showFacts();
}

async function begin() {
  const link = /^#bootstrap=(.+)$/.exec(location.hash);
  if (link) {
    history.replaceState(null, "", location.pathname);
    try {
      await signedIn(await ask("POST", "/api/auth/bootstrap", { token: decodeURIComponent(link[1]) }));
      return;
    } catch (error) {
      say(error.message);
    }
  }
  try {
    await signedIn(await ask("POST", "/api/auth/refresh"));
  } catch (error) {
    if (error.status !== 401) say(error.message);
    byId("sign-in").hidden = false;
  }
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  try {
    const keys = { access_key_id: byId("key").value.trim(), secret_key: byId("secret").value.trim() };
    await signedIn(await ask("POST", "/api/auth/login", keys));
    byId("secret").value = "";
  } catch (error) {
    say(error.message);
  }
});

byId("sign-out").addEventListener("click", async () => {
  try {
    await ask("POST", "/api/auth/logout");
  } finally {
    token = null;
    byId("facts").hidden = true;
    byId("created").hidden = true;
    byId("sign-in").hidden = false;
  }
});

addEventListener("hashchange", begin);
showHealth().catch((error) => { byId("health").textContent = error.message; });
begin();
