// What of a folder is pushed and what kind of repository it makes, by the hub's own table, which the page carries.

const rules = JSON.parse(document.getElementById("folder-rules").textContent);

const expression = (pattern) =>
  new RegExp(`^${pattern.split("*").map((text) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`, "is");

const rows = rules.left_out.map((pattern) => ({
  folder: pattern.endsWith("/"),
  matches: expression(pattern.replace(/\/$/, "")),
}));
const kinds = rules.kind_of.map(([pattern, kind]) => [expression(pattern), kind]);

// The part of the path that stays behind, a folder with its slash; "" for what is pushed.
export function leftOut(path) {
  const parts = path.split("/");
  for (let depth = 1; depth <= parts.length; depth++) {
    const folder = depth < parts.length;
    const part = parts[depth - 1];
    if (rules.kept.includes(part)) continue;
    if (rows.some((row) => row.folder === folder && row.matches.test(part)))
      return parts.slice(0, depth).join("/") + (folder ? "/" : "");
  }
  return "";
}

// The kind of repository that files of these paths make; "" where they don't say.
export function kindOf(paths) {
  const top = paths.filter((path) => !path.includes("/"));
  return kinds.find(([pattern]) => top.some((name) => pattern.test(name)))?.[1] ?? "";
}
