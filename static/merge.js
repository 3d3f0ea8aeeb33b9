// The merge form as JSON and back: what a person fills in and what a program sends are the same request.

const form = document.getElementById("merging");
const text = document.getElementById("as-json");
const said = document.getElementById("json-said");
const OWN = new Set(["csrfmiddlewaretoken", "kind", "key", "inputs", "datasets", "weights", "namespace", "name", "visibility", "find", "check", "choose"]);

function typed(field) {
  if (field.type === "checkbox") return field.checked;
  if (field.value === "") return undefined;
  return field.type === "number" ? Number(field.value) : field.value;
}

const fields = () => [...form.elements].filter((field) => field.name && !OWN.has(field.name) && field.dataset.kept === undefined);
const named = (name) => [...form.elements].filter((field) => field.name === name);

function toJson() {
  const recipe = {};
  for (const field of fields()) recipe[field.name] = typed(field);
  const weights = named("weights").map((field) => Number(field.value || 1));
  if (weights.some((weight) => weight !== 1)) recipe.weights = weights;
  const name = form.elements.name.value;
  const body = {
    kind: form.elements.kind.value,
    recipe,
    inputs: named("inputs").map((field) => field.value),
    output: name ? `${form.elements.namespace.value}/${name}` : null,
    visibility: form.elements.visibility.value || undefined,
  };
  const data = named("datasets").flatMap((field) => [...(field.selectedOptions ?? [field])].map((option) => option.value));
  if (data.some(Boolean)) body.datasets = data.filter(Boolean);
  text.value = JSON.stringify(body, null, 2);
}

function fromJson() {
  let body;
  try {
    body = JSON.parse(text.value);
  } catch (error) {
    return (said.textContent = `This is not JSON: ${error.message}`);
  }
  if (body.kind && body.kind !== form.elements.kind.value) {
    return (said.textContent = `This is a ${body.kind} recipe; choose that method above first.`);
  }
  const unknown = Object.keys(body.recipe ?? {}).filter((name) => name !== "weights" && !named(name).length);
  if (unknown.length) return (said.textContent = `This method has no field ${unknown.join(", ")}.`);
  for (const field of fields()) {
    const value = body.recipe?.[field.name];
    if (value === undefined || value === null) continue;
    if (field.type === "checkbox") field.checked = Boolean(value);
    else field.value = value;
  }
  named("weights").forEach((field, i) => (field.value = body.recipe?.weights?.[i] ?? 1));
  const [namespace, name] = (body.output ?? "/").split("/");
  if (namespace) form.elements.namespace.value = namespace;
  form.elements.name.value = name ?? "";
  form.elements.visibility.value = body.visibility ?? "";
  said.textContent = "Applied.";
}

if (text) {
  form.addEventListener("input", (event) => event.target !== text && toJson());
  document.getElementById("apply-json").onclick = fromJson;
}
