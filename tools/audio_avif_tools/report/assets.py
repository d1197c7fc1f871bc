"""Style and script of the report page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1d1f24; --soft: #5d626d; --line: #dedbd3; --accent: #b04a1c;
  --faint: #c9b8a8; --mark: #f6efe6 }
@media (prefers-color-scheme: dark) { :root {
  --paper: #131418; --card: #1b1d22; --ink: #e8e6e1; --soft: #a0a4ae; --line: #33363e; --accent: #f0915c;
  --faint: #75604f; --mark: #26221f } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
main, header, footer { max-width: 74rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 2.5rem } footer { padding-bottom: 4rem }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 .4rem;
  font-weight: 650; overflow-wrap: anywhere }
h2 { font-size: 1.35rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 .2rem; overflow-wrap: anywhere }
h3 { font-size: 1.02rem; font-weight: 650; margin: 2.2rem 0 .6rem }
p { margin: .4rem 0; max-width: 46rem } .lead, .facts, figcaption, .note { color: var(--soft) }
.lead { font-size: 1.05rem } .facts { margin: 0 } .note { font-size: .9rem }
a { color: var(--accent); text-underline-offset: .18em } a:hover { text-decoration-thickness: 2px }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px }
section { margin: 3rem 0 0; padding: 2rem 0 0; border-top: 1px solid var(--line) }
section.only { margin: 0; padding: 0; border: 0 }
.warning { border-left: 3px solid var(--accent); background: var(--mark); padding: .6rem .9rem;
  border-radius: 0 6px 6px 0 }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere }

.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card) }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft); font-size: .85rem; padding: .6rem .8rem 0 }
th, td { text-align: right; padding: .5rem .7rem; white-space: nowrap }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card) }
thead th { padding: 0; border-bottom: 1px solid var(--line); vertical-align: bottom }
tbody tr + tr > * { border-top: 1px solid var(--line) } tbody th { font-weight: 600 }
th button { font: inherit; font-weight: 600; color: var(--soft); background: none; border: 0; cursor: pointer;
  padding: .55rem .7rem; width: 100%; text-align: inherit; white-space: nowrap }
th button:hover { color: var(--ink) } th button::after { content: "\\2195"; opacity: .35; margin-left: .2em }
th[aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; color: var(--accent) }
th[aria-sort=descending] button::after { content: "\\2193"; opacity: 1; color: var(--accent) }
.long { white-space: normal; min-width: 12rem; overflow-wrap: anywhere }

.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)) }
.charts figure { margin: 0; padding: .8rem .8rem .4rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px }
.charts figcaption { font-weight: 600; color: var(--ink); font-size: .9rem }
svg { display: block; width: 100%; height: auto } svg line { stroke: var(--line) }
svg text { font-size: 11px; fill: var(--soft) } svg .label { fill: var(--ink); font-weight: 600 }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2 } svg circle { fill: var(--accent) }
svg .faint { fill: none; stroke: var(--faint) }

.players { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  list-style: none; margin: 0; padding: 0 }
.players li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .7rem .7rem }
.players b { display: flex; justify-content: space-between; gap: 1rem; font-weight: 600; margin-bottom: .4rem }
.players small { color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums }
audio { display: block; width: 100%; height: 40px }

.spectrum { margin: 0; padding-bottom: .9rem } .spectrum figcaption { font-size: .85rem; margin-bottom: .25rem;
  display: flex; flex-wrap: wrap; gap: 0 1rem; justify-content: space-between }
.spectrum figcaption b { color: var(--ink) }
.frame { position: relative; margin: 0 0 1.35rem 3.1rem } .frame img { display: block; width: 100%;
  height: calc(var(--rows) * clamp(96px, 16vw, 168px)); border-radius: 3px; background: #07060d }
.frame i { position: absolute; font: .7rem/1 ui-sans-serif, system-ui, sans-serif; color: var(--soft);
  white-space: nowrap }
.frame i.y { right: calc(100% + .35rem); transform: translateY(50%) } .frame i.x { top: calc(100% + .35rem);
  transform: translateX(-50%) } .frame i.row { left: .4rem; color: #fff; text-shadow: 0 0 3px #000, 0 0 3px #000 }
.scale { display: inline-block; width: 5rem; height: .6em; border-radius: 2px; margin: 0 .4em }
.frame.whole { margin-left: 0 } .frame.whole img { width: auto; max-width: 100%; height: auto;
  max-height: 30rem }

.picker { border: 0; margin: .8rem 0 0; padding: 0; min-width: 0 }
.picker legend { padding: 0 0 .4rem; font-weight: 600 }
.picker > input { position: absolute; opacity: 0 }
.picker > label { display: inline-block; min-width: 2.8rem; text-align: center; padding: .4rem .7rem;
  margin: 0 .35rem .5rem 0;
  border: 1px solid var(--line); border-radius: 99px; background: var(--card); cursor: pointer;
  font-variant-numeric: tabular-nums }
.picker > input:checked + label { background: var(--ink); color: var(--paper); border-color: var(--ink) }
.picker > input:focus-visible + label { outline: 2px solid var(--accent); outline-offset: 2px }
.panels { margin-top: .5rem } .panels > div { display: none }
details { margin-top: 1rem } summary { cursor: pointer; color: var(--accent) }
details[open] summary { margin-bottom: .7rem }
dl { columns: 2 22rem; column-gap: 3rem; margin: .6rem 0 } dl div { break-inside: avoid; padding-bottom: .8rem }
dt { font-weight: 600 } dd { margin: 0; color: var(--soft); font-size: .95rem }
@media (max-width: 32rem) { body { font-size: 15px } main, header, footer { padding-left: 1rem; padding-right: 1rem }
  th, td { padding: .45rem .6rem } th button { padding: .5rem .6rem } section { margin-top: 2rem } }
@media print { .panels > div { display: block !important } audio, .picker > label { display: none } }
"""

SCRIPT = """
"use strict";
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
function sortBy(button) {
  const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
  const isDown = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const rows = [...body.rows], column = head.cellIndex;
  const values = rows.map(row => row.cells[column].dataset.value || "");
  body.append(...order(values, isDown).map(i => rows[i]));
}
if (typeof document !== "undefined") {
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button));
  document.addEventListener("play", event => {
    for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
  }, true);
}
"""


def picker_style(panels: int) -> str:
    """Which panel shows when which of the radio buttons before it is chosen."""
    return "".join(
        f".picker > input:nth-of-type({i}):checked ~ .panels > :nth-child({i}) {{ display: block }}\n"
        for i in range(1, panels + 1)
    )
