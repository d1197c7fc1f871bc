"use strict";

/** The order of the values, numbers by size and text by letters, as indices; empty values come last. */
function order(values, isDown) {
  const numbers = values.map(value => value === "" || value === null ? NaN : Number(value));
  const isText = values.some((value, i) => value && Number.isNaN(numbers[i]));
  const rank = i => isText ? values[i] : numbers[i];
  const isEmpty = i => isText ? !values[i] : Number.isNaN(numbers[i]);
  return values.map((_, i) => i).sort((a, b) => {
    if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b) || a - b;
    const difference = isText ? rank(a).localeCompare(rank(b)) : rank(a) - rank(b);
    return (isDown ? -difference : difference) || a - b;
  });
}

/** Sort the table's rows by the button's column; a second press reverses the order. */
function sortBy(button) {
  const head = button.closest("th");
  const body = head.closest("table").tBodies[0];
  const isDown = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const rows = [...body.rows];
  const values = rows.map(row => row.cells[head.cellIndex].dataset.value || "");
  body.append(...order(values, isDown).map(i => rows[i]));
}

/** Pause every player but the one that has just started. */
function pauseOthers(event) {
  for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
}

if (typeof document !== "undefined") {
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button));
  document.addEventListener("play", pauseOthers, true);
}
