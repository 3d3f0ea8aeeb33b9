// Files dropped on the page become the form's files; their names are listed. The server reads them and shows the chunks.

const drop = document.getElementById("drop");
const input = document.getElementById("files");
const chosen = document.getElementById("chosen");

function list() {
  chosen.replaceChildren(
    ...[...input.files].map((file) => {
      const row = document.createElement("li");
      row.textContent = `${file.name} (${file.size.toLocaleString()} bytes)`;
      return row;
    }),
  );
}

for (const name of ["dragover", "dragenter"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));

drop.addEventListener("drop", (event) => {
  event.preventDefault();
  const all = new DataTransfer();
  for (const file of [...input.files, ...event.dataTransfer.files]) all.items.add(file);
  input.files = all.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
input.addEventListener("change", list);
list();
