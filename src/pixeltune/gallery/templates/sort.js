// Buttons in the table's head that sort its rows. Without this script the table is sorted by name.
"use strict";
for (const table of document.querySelectorAll("table.runs")) {
  const body = table.tBodies[0];
  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, body, head));
  }
}

function sort(table, body, head) {
  const numeric = head.dataset.sort === "number";
  // Numbers begin with the largest, words with A; a second click turns that round.
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[head.cellIndex].dataset.value;
  const rows = [...body.rows].sort((a, b) => {
    const [one, two] = [value(a), value(b)];
    if (one === "" || two === "") return (one === "") - (two === ""); // unknown ones stay at the end
    return sign * (numeric ? one - two : one.localeCompare(two));
  });
  body.append(...rows);
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
}
