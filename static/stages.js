// A transfer as it runs: its stages, what the filter keeps and rejects, the loss. Fed by job.js, event by event.

const box = document.getElementById("stages");
const order = box ? box.dataset.stages.split(" ") : [];
const TITLES = { synthesis: "Invented", filter: "Kept", labelling: "Answered" };
const losses = [];
const held = [];

export function stages(message, figures) {
  if (!box) return;
  if (figures.stage) stage(figures.stage, message);
  for (const name of ["kept", "rejected"]) {
    if (typeof figures[name] === "number") box.querySelector(`[data-count=${name}]`).textContent = figures[name];
  }
  if (figures.examples?.length) box.querySelector("[data-title]").textContent = TITLES[figures.stage] ?? "Kept";
  list("kept", figures.examples);
  list("rejected", figures.rejected_examples);
  if (typeof figures.loss === "number" && typeof figures.step === "number") loss(figures);
}

// A filter in rounds goes back to synthesis: the last stage named is the one that runs.
function stage(name, message) {
  const now = order.indexOf(name);
  if (now < 0) return;
  for (const [place, item] of [...box.querySelectorAll("[data-stage]")].entries()) {
    if (place === now) item.dataset.state = "now";
    else if (place < now) item.dataset.state = "done";
    else delete item.dataset.state;
    if (place === now && message) item.lastElementChild.textContent = message;
  }
}

function list(name, rows) {
  if (!rows?.length) return;
  document.getElementById("said").hidden = box.querySelector(`.${name}`).hidden = false;
  const said = rows.map((row) => {
    const item = document.createElement("li");
    item.textContent = typeof row === "string" ? row : `${row.prompt} → ${row.completion}`;
    return item;
  });
  box.querySelector(`.${name} ul`).replaceChildren(...said);
}

function loss(figures) {
  if (losses.length && figures.step < losses.at(-1)[0]) losses.length = held.length = 0; // taken up again
  losses.push([figures.step, figures.loss]);
  if (typeof figures.held_out_loss === "number" && figures.held_out_loss !== held.at(-1)?.[1]) {
    held.push([figures.step, figures.held_out_loss]);
  }
  if (losses.length < 2) return;
  const figure = document.getElementById("loss");
  figure.hidden = false;
  const end = losses.at(-1)[0];
  const high = Math.max(...losses.map((point) => point[1]), ...held.map((point) => point[1])) || 1;
  const path = (points) =>
    points.map(([x, y], i) => `${i ? "L" : "M"}${(48 + (590 * x) / end).toFixed(1)} ${(6 + 150 * (1 - y / high)).toFixed(1)}`).join("");
  figure.querySelector("path").setAttribute("d", path(losses));
  figure.querySelector(".held").setAttribute("d", path(held));
  figure.querySelector("[data-tick=high]").textContent = high.toPrecision(2);
  figure.querySelector("[data-tick=end]").textContent = `step ${end}`;
}
