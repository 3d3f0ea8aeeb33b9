// Uploading a folder through the REST API: digests first, then pieces with their offset, then the commit that checks.
// After a lost connection it asks how much has arrived and resumes there; a reloaded page does so too.

import { sha256 } from "./sha256.js";

const PIECE = 8 * 2 ** 20;
const TRIES = 6;
const IGNORED = /(^|\/)(\.DS_Store|Thumbs\.db|\.git(\/|$)|__MACOSX)/;

const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const list = document.getElementById("list");
const said = document.getElementById("upload-said");
const start = document.getElementById("start");
const chosen = new Map();

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

function add(path, file) {
  if (IGNORED.test(path) || path === "") return;
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
  button.onclick = () => (row.remove(), chosen.delete(path), show());
  chosen.set(path, { file, row, progress, note });
  show();
}

function show() {
  list.hidden = !chosen.size;
  start.disabled = !chosen.size;
  const paths = [...chosen.keys()];
  const kind = form.elements.kind;
  if (kind.tagName === "SELECT" && paths.some((path) => path.endsWith(".jsonl"))) kind.value = "dataset";
  if (kind.tagName === "SELECT" && paths.includes("adapter_config.json")) kind.value = "adapter";
  if (kind.tagName === "SELECT" && paths.includes("generator_config.json")) kind.value = "generator";
  for (const field of document.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== kind.value;
}

function say(text, tone = "") {
  said.hidden = !text;
  said.className = `notice ${tone}`;
  said.textContent = text;
  if (tone) said.scrollIntoView({ block: "nearest" });
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
form.addEventListener("change", show);

async function repository() {
  const fields = form.elements;
  if (fields.target) return fields.target.value;
  const [namespace, name] = [fields.namespace.value, fields.name.value.trim()];
  try {
    const visibility = fields.visibility.value;
    await ask("POST", "repositories", { namespace, name, kind: fields.kind.value, visibility, description: "" });
  } catch (refusal) {
    if (refusal.status !== 409) throw refusal;
    const there = await ask("GET", `repositories/${namespace}/${place(name)}`).catch(() => null);
    if (!there || there.kind !== fields.kind.value) throw refusal;
  }
  return `${namespace}/${name}`;
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
    files.push({ path, size: file.size, sha256: await sha256(file, (done) => (progress.value = done)) });
    note.textContent = "";
    progress.value = 0;
  }
  const name = await repository();
  const message = form.elements.message.value;
  const base = form.elements.base?.value || null;
  const upload = await ask("POST", `repositories/${name}/uploads`, { files, message, base });
  for (const row of upload.files) await send(upload.id, row.path, row.received);
  say("All files have arrived; checking them.");
  const done = await ask("POST", `uploads/${upload.id}/commit`);
  location.assign(done.version ? `/${name}/at/${done.version}` : `/${name}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  start.disabled = true;
  say("");
  try {
    await publish();
  } catch (refusal) {
    const about = refusal.problem?.path;
    if (about && chosen.has(about)) chosen.get(about).note.textContent = "refused";
    say(refusal.status ? `${refusal.message} Nothing was published.` : "The connection is lost. Try again; the upload resumes where it stopped.", "error");
    mend(refusal.problem?.page);
    start.disabled = false;
  }
});
show();
