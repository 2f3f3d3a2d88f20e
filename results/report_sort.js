// Sorts a table by the column whose heading is clicked, or reached by the keyboard and entered; again, the other way round.
"use strict";
const valueOf = (cell) => {
  const text = cell.textContent.trim().replace(/\u2212/g, "-");
  if (text === "" || text === "\u2013") return NaN;
  return /^[-+]?[\d.]/.test(text) ? parseFloat(text) : text;
};
const isMissing = (value) => typeof value === "number" && isNaN(value);
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
for (const table of document.querySelectorAll("table")) {
  if (table.tBodies.length !== 1 || table.querySelector("tr.paper")) continue; // groups of rows keep their order
  const body = table.tBodies[0], heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, index) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [valueOf(row.cells[index]), row]);
      rows.sort(([a], [b]) => isMissing(a) - isMissing(b) || (down ? compare(b, a) : compare(a, b)) || 0);
      body.append(...rows.map(([, row]) => row));
    };
    head.tabIndex = 0;
    head.title = "sort by " + head.textContent;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
    head.classList.add("sorts");
  });
}
