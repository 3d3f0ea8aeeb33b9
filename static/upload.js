// Uploading a folder through the REST API: digests first, then pieces with their offset, then the commit that checks.
// After a lost connection it asks how much has arrived and resumes there; a reloaded page does so too.

import { kindOf, leftOut } from "./folder_rules.js";
import { sha256 } from "./sha256.js";

const PIECE = 8 * 2 ** 20;
const TRIES = 6;
const MANY = 2000; // files; of more the hub takes none
const HEAD = 1024; // the bytes by which the hub tells what a file is, before all of it is sent

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const list = document.getElementById("list");
const said = document.getElementById("upload-said");
const start = document.getElementById("start");
const behind = document.getElementById("left-out");
const chosen = new Map();
const left = new Map();
let everything = false;

class Refusal extends Error {
  constructor(problem, status) {
    super(problem.detail ?? "The server refused the request.");
    this.problem = problem;
    this.status = status;
  }
}

async function ask(method, path, body, headers = {}) {
  const bytes = body instanceof Blob;
  const response = await fetch(`/api/v1/${path}`, {
    method,
    credentials: "same-origin",
    headers: {
      "X-CSRFToken": form.dataset.token,
      ...(body && { "Content-Type": bytes ? "application/octet-stream" : "application/json" }),
      ...headers,
    },
    body: bytes ? body : body && JSON.stringify(body),
  });
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({ detail: `The server answered ${response.status}.` }));
  if (response.ok) return answer;
  throw new Refusal(answer, response.status);
}

const place = (path) => path.split("/").map(encodeURIComponent).join("/");

function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 999.5 && unit < 3; unit++) bytes /= 1000;
  return `${unit && bytes < 99.5 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function add(given, file) {
  const path = given.normalize("NFC");
  const stays = leftOut(path);
  if (stays && !everything) {
    left.set(stays, [...(left.get(stays) ?? []), [path, file]]);
    return show();
  }
  chosen.get(path)?.row.remove();
  const row = list.tBodies[0].insertRow();
  const [name, amount, bar, away] = [0, 1, 2, 3].map(() => row.insertCell());
  name.textContent = path;
  amount.textContent = size(file.size);
  amount.className = away.className = "number";
  const progress = bar.appendChild(document.createElement("progress"));
  progress.max = 1;
  progress.value = 0;
  const note = bar.appendChild(document.createElement("span"));
  note.className = "muted";
  const button = away.appendChild(document.createElement("button"));
  Object.assign(button, { type: "button", className: "quiet", textContent: "Leave out" });
  button.setAttribute("aria-label", `Leave out ${path}`);
  button.onclick = () => {
    const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button");
    leave(path);
    (next ?? start).focus();
  };
  chosen.set(path, { file, row, progress, note });
  show();
}

function leave(path) {
  chosen.get(path)?.row.remove();
  chosen.delete(path);
  show();
}

function show() {
  behind.hidden = !left.size;
  behind.querySelector("span").textContent = [...left.keys()].join(", ");
  list.hidden = !chosen.size;
  start.disabled = !chosen.size;
  const paths = [...chosen.keys()];
  const kind = form.elements.kind;
  const guess = kindOf(paths);
  if (kind.tagName === "SELECT" && guess && !kind.dataset.chosen) kind.value = guess;
  for (const field of document.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== kind.value;
}

function say(text, tone = "") {
  said.hidden = !text;
  said.className = `notice ${tone}`;
  said.textContent = text;
  if (tone) said.focus();
  mend();
}

// The hub names the page of its own that mends a refusal.
function mend(page = "") {
  const place = document.getElementById("upload-mend");
  place.hidden = !page.startsWith("/");
  if (place.hidden) return;
  place.querySelector("a").href = page;
  place.scrollIntoView({ block: "nearest" });
}

// All that stands in the way, and a button that leaves it out where the rest can go without.
function complain(refusal) {
  const problems = refusal.problem?.problems ?? [{ path: refusal.problem?.path ?? refusal.problem?.file }];
  const paths = problems.map((row) => row.path).filter((path) => chosen.has(path));
  for (const path of paths) chosen.get(path).note.textContent = "refused";
  if (!refusal.status) return say("The connection is lost. Try again; the upload resumes where it stopped.", "error");
  say(`${refusal.message} Nothing was published.`, "error");
  mend(refusal.problem.page);
  if (problems.length > 1) {
    const all = said.appendChild(document.createElement("ul"));
    for (const { message } of problems) all.appendChild(document.createElement("li")).textContent = message;
  }
  said.scrollIntoView({ block: "nearest" });
  if (!paths.length || paths.length < problems.length || paths.length === chosen.size) return;
  const button = said.appendChild(document.createElement("button"));
  const which = paths.length === 1 ? "it" : `these ${paths.length}`;
  Object.assign(button, { type: "button", className: "button small plain", textContent: `Leave ${which} out` });
  button.onclick = () => (paths.forEach(leave), say(""), start.focus());
  button.scrollIntoView({ block: "nearest" });
}

async function walk(entry, prefix) {
  if (entry.isFile) return add(prefix + entry.name, await new Promise((done, no) => entry.file(done, no)));
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((done, no) => reader.readEntries(done, no));
    if (!entries.length) return;
    for (const child of entries) await walk(child, `${prefix}${entry.name}/`);
  }
}

drop.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  for (const entry of entries) {
    if (entry.isFile || entries.length > 1) await walk(entry, "");
    else await walkInside(entry);
  }
});

// One dropped folder is the adapter itself: its own name is no part of the paths.
async function walkInside(folder) {
  const reader = folder.createReader();
  for (;;) {
    const entries = await new Promise((done, no) => reader.readEntries(done, no));
    if (!entries.length) return;
    for (const child of entries) await walk(child, "");
  }
}

function take(event) {
  for (const file of event.target.files) add(file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file);
}

for (const input of form.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", take);
  take({ target: input }); // chosen before this script was there
}
form.addEventListener("change", (event) => {
  if (event.target === form.elements.kind) event.target.dataset.chosen = true;
  show();
});

behind.querySelector("button").onclick = () => {
  everything = true;
  const files = [...left.values()].flat();
  left.clear();
  for (const [path, file] of files) add(path, file);
  show();
  start.focus();
};

// Where it goes: what is there, or what the commit is to make, so that a refused upload leaves nothing behind.
function goal() {
  const fields = form.elements;
  if (fields.target) return { name: fields.target.value, make: null };
  const name = `${fields.namespace.value}/${place(fields.name.value.trim())}`;
  return { name, make: { kind: fields.kind.value, visibility: fields.visibility.value } };
}

async function head(file) {
  return btoa(String.fromCharCode(...new Uint8Array(await file.slice(0, HEAD).arrayBuffer())));
}

async function send(id, path, received) {
  const { file, progress, note } = chosen.get(path);
  for (let at = received, tries = 0; ; ) {
    progress.value = file.size ? at / file.size : 1;
    if (at >= file.size) break;
    try {
      const piece = file.slice(at, at + PIECE);
      at = (await ask("PUT", `uploads/${id}/files/${place(path)}`, piece, { "Upload-Offset": at })).received;
      tries = 0;
      note.textContent = "";
    } catch (refusal) {
      if (refusal.status === 409 && Number.isInteger(refusal.problem.received)) at = refusal.problem.received;
      else if ((refusal.status && refusal.status < 500) || ++tries >= TRIES) throw refusal;
      else {
        note.textContent = "connection lost, trying again";
        await new Promise((done) => setTimeout(done, 500 * 2 ** tries));
        const upload = await ask("GET", `uploads/${id}`).catch(() => null);
        at = upload?.files.find((row) => row.path === path)?.received ?? at;
      }
    }
  }
  note.textContent = "sent";
}

async function publish() {
  const files = [];
  for (const [path, { file, progress, note }] of chosen) {
    note.textContent = "reading";
    const digest = await sha256(file, (done) => (progress.value = done));
    files.push({ path, size: file.size, sha256: digest, head: chosen.size > MANY ? "" : await head(file) });
    note.textContent = "";
    progress.value = 0;
  }
  const { name, make } = goal();
  const message = form.elements.message.value;
  const base = form.elements.base?.value || null;
  const upload = await ask("POST", `repositories/${name}/uploads`, { files, message, base, make });
  for (const row of upload.files) await send(upload.id, row.path, row.received);
  say("All files have arrived; checking them.");
  const done = await ask("POST", `uploads/${upload.id}/commit`);
  const path = upload.repository;
  const page = done.version ? `/${path}/at/${done.version}` : `/${path}`;
  if (done.warnings.length) tell(`${path}@${done.version} is published`, done.warnings, page);
  else location.assign(page);
}

// Published, with what the check found and did not refuse; the version's page keeps it.
function tell(what, warnings, page) {
  say(`${what}, with ${warnings.length === 1 ? "a warning" : `${warnings.length} warnings`}.`, "warning");
  const all = said.appendChild(document.createElement("ul"));
  for (const warning of warnings) all.appendChild(document.createElement("li")).textContent = warning;
  const link = said.appendChild(document.createElement("a"));
  Object.assign(link, { href: page, className: "button small", textContent: "Go to the version" });
  said.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  start.disabled = true;
  say("");
  try {
    await publish();
  } catch (refusal) {
    start.disabled = false;
    complain(refusal);
  }
});
show();
