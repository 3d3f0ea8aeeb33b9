// A job as it runs: server-sent events move the bar, add log lines and figures; the end reloads the page once.

import { stages } from "./stages.js";

const job = document.getElementById("job");
const log = document.getElementById("log");
const figures = document.getElementById("figures");
const known = log.children.length;
let seen = 0;

function progress(data) {
  if (typeof data.fraction === "number") document.getElementById("progress").value = data.fraction;
  if (data.message) document.getElementById("message").textContent = data.message;
  stages(data.message, data.figures ?? {});
  for (const [name, value] of Object.entries(data.figures ?? {})) if (typeof value === "number") figure(name, value);
}

function figure(name, value) {
  let box = figures.querySelector(`[data-figure="${CSS.escape(name)}"]`);
  if (!box) {
    box = document.createElement("div");
    box.dataset.figure = name;
    box.append(document.createElement("dt"), document.createElement("dd"));
    box.firstChild.textContent = name.replaceAll("_", " ");
    const old = [...figures.children].find((one) => one.firstElementChild?.textContent === box.firstChild.textContent);
    old ? old.replaceWith(box) : figures.append(box);
  }
  box.lastChild.textContent = typeof value === "number" ? Number(value.toPrecision(4)) : value;
}

// The stream begins with what the page shows already; those first lines are not written twice.
function line(data) {
  if (++seen <= known) return;
  const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const row = log.appendChild(document.createElement("li"));
  const time = row.appendChild(document.createElement("time"));
  time.textContent = new Date(data.at ?? Date.now()).toISOString().slice(11, 19);
  row.append(` ${data.text}`);
  if (low) log.scrollTop = log.scrollHeight;
}

// A stream from the beginning repeats how earlier attempts ended; only the event `end` is the job's own end.
function state(data, id) {
  if (id === "end") return source.close(), location.reload();
  if (!data.state || data.state === job.dataset.state) return;
  job.dataset.state = data.state;
  const badge = document.getElementById("state");
  badge.textContent = data.state;
  badge.className = `state ${data.state}`;
  for (const step of document.querySelectorAll("#steps li")) {
    step.toggleAttribute("aria-current", step.dataset.step === data.state);
  }
  if (data.state !== "queued") document.getElementById("waiting")?.remove();
}

const source = new EventSource(job.dataset.events);
const handle = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data), event.lastEventId));
handle("progress", progress);
handle("log", line);
handle("state", state);
log.scrollTop = log.scrollHeight;
