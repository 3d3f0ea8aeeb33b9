// A trial as it runs: server-sent tokens go to their side, the end reloads the page once. Then: experts by layer.

const trial = document.getElementById("trial");
const prompt = document.getElementById("prompt");
let attempt = null;
let began = null;

prompt?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) prompt.form.requestSubmit();
});

function token(data) {
  if (data.attempt !== attempt) {
    attempt = data.attempt;
    for (const text of trial.querySelectorAll(".answer-text")) text.replaceChildren();
  }
  const text = document.getElementById(`text-${data.side}`);
  const low = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
  text.append(data.text);
  if (low) text.scrollTop = text.scrollHeight;
  for (const one of trial.querySelectorAll(".writing")) one.classList.remove("writing");
  text.classList.add("writing");
  if (began?.side !== data.side) began = { side: data.side, at: performance.now(), tokens: data.tokens };
  const rate = (1000 * (data.tokens - began.tokens)) / (performance.now() - began.at);
  const speed = data.tokens - began.tokens > 3 ? ` · ${rate.toPrecision(2)} tokens/s` : "";
  document.getElementById(`figures-${data.side}`).textContent = `${data.tokens} tokens${speed}`;
}

// A stream from the beginning repeats how earlier attempts ended; only the event `end` is the trial's own end.
function state(data, id) {
  if (id === "end") return source.close(), location.reload();
  if (!data.state || data.state === trial.dataset.state) return;
  trial.dataset.state = data.state;
  const badge = document.getElementById("state");
  badge.textContent = data.state;
  badge.className = `state ${data.state}`;
  if (data.state !== "queued") document.getElementById("waiting")?.remove();
  if (data.state === "running") said("");
}

function said(text) {
  document.getElementById("message").textContent = text;
}

let source;
if (trial && !("final" in trial.dataset)) {
  source = new EventSource(trial.dataset.events);
  const handle = (name, act) => source.addEventListener(name, (event) => act(JSON.parse(event.data), event.lastEventId));
  handle("token", token);
  handle("log", (data) => said(data.text));
  handle("state", state);
}

const layer = document.getElementById("layer");
layer?.addEventListener("change", () => {
  const { names, experts, layers } = JSON.parse(document.getElementById("token-data").textContent);
  let before = -1;
  document.querySelectorAll(".token-text .token").forEach((span, place) => {
    span.dataset.title ??= span.title;
    const expert = layer.value === "" ? experts[place] : layers[place][Number(layer.value)];
    span.title = layer.value === "" ? span.dataset.title : `${names[expert]} serves it most in this layer`;
    span.className = `token expert-${expert % 8}${span.classList.contains("special") ? " special" : ""}`;
    span.classList.toggle("first", expert !== before || !span.previousElementSibling);
    span.querySelector("sup").textContent = expert + 1;
    before = expert;
  });
});
