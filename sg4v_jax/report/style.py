"""Colours and the style sheet of a page: light, dark and print from one set of CSS variables.

Contrast (WCAG 2.1) and the distance between series colours as colour-blind readers see them are
tested; change a colour and the test says whether it still works.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f4f6f8",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "rule": "#d5dae0",
    "right": "#0a6b4a",
    "wrong": "#b3261e",
    "series-1": "#1f4fd8",
    "series-2": "#c97908",
    "series-3": "#109b7b",
    "series-4": "#7f7cc6",
    "series-5": "#5a3a08",
    "series-6": "#2b2333",
}
DARK = {
    "paper": "#14181d",
    "panel": "#1e242b",
    "ink": "#e6eaee",
    "muted": "#a3adb8",
    "rule": "#38414b",
    "right": "#5fd3a5",
    "wrong": "#ff9a90",
    "series-1": "#6a9bff",
    "series-2": "#e0662a",
    "series-3": "#2fe39a",
    "series-4": "#bb5b90",
    "series-5": "#fff04a",
    "series-6": "#bdf4f7",
}
SERIES = sum(name.startswith("series-") for name in LIGHT)


def color(name: str) -> str:
    """A CSS colour that follows the page, and is the light one where an SVG stands alone."""
    return f"var(--{name}, {LIGHT[name]})"


def _variables(colors: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colors.items())


# `screen` in the dark query keeps print on white paper.
CSS = (
    f"""
:root {{ color-scheme: light; {_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{
  :root {{ color-scheme: dark; {_variables(DARK)} }}
}}
"""
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 50rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; margin: 0; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--rule); break-after: avoid; }
h3 { font-size: 1rem; margin: 0 0 0.4rem; }
h3.part { font-size: 1.1rem; margin: 2.25rem 0 0.5rem; break-after: avoid; }
p { margin: 0.75rem 0; max-width: 42rem; overflow-wrap: break-word; }
.subtitle { color: var(--muted); font-size: 1.1rem; margin: 0.5rem 0 0; }
a { color: inherit; text-underline-offset: 0.15em; }
:focus-visible { outline: 2px solid var(--series-1); outline-offset: 2px; }
nav { margin: 1.25rem 0 0; }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: 0.35rem 1.25rem; }
.note { background: var(--panel); border-left: 4px solid var(--series-1); border-radius: 4px;
  padding: 0.6rem 1rem; margin: 1rem 0; max-width: 44rem; break-inside: avoid;
  overflow-wrap: break-word; }
.note p { margin: 0.3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0;
  min-width: min(100%, 30rem); }
.facts { min-width: 0; }
caption { text-align: left; color: var(--muted); font-size: 0.92rem; padding-bottom: 0.5rem; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; vertical-align: top; text-align: left; }
th:last-child, td:last-child { padding-right: 0.5rem; }
thead th { border-bottom: 2px solid var(--muted); vertical-align: bottom; font-size: 0.92rem; }
tbody th { font-weight: 500; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tr { break-inside: avoid; }
.end { text-align: right; }
td.end { white-space: nowrap; }
.middle { text-align: center; }
.highlight > * { background: var(--panel); font-weight: 700; }
.highlight > :first-child { box-shadow: inset 3px 0 0 var(--series-1); padding-left: 0.6rem; }
.facts th { color: var(--muted); font-weight: 400; padding-right: 1.5rem; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
figure { margin: 1.25rem 0; break-inside: avoid; }
figcaption { color: var(--muted); font-size: 0.92rem; margin-top: 0.4rem; max-width: 42rem; }
figure img, .card img { display: block; max-width: 100%; height: auto; background: var(--panel); }
.chart svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
td svg { display: block; }
pre { background: var(--panel); border-radius: 4px; padding: 0.75rem 1rem; overflow-x: auto;
  font: 0.88rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.cards { display: grid; gap: 1.25rem; margin: 1.25rem 0; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 14.5rem), 1fr)); }
.card { border: 1px solid var(--rule); border-radius: 6px; overflow: hidden; break-inside: avoid; }
.card > div { padding: 0.75rem 0.9rem 0.9rem; }
.card dl { margin: 0; display: grid; gap: 0.1rem 0; }
.card dt { color: var(--muted); font-size: 0.85rem; }
.card dd { margin: 0 0 0.35rem; overflow-wrap: anywhere; white-space: pre-line; }
.verdict { display: inline-block; margin: 0.3rem 0 0; padding: 0 0.6rem; font-weight: 700;
  border: 2px solid currentColor; border-radius: 1rem; font-size: 0.92rem; }
.right { color: var(--right); }
.wrong { color: var(--wrong); }
@media screen and (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.55rem; }
  .wide { display: none; }
  .narrow { display: block; }
  tbody th { min-width: 8rem; }
  .facts th { white-space: normal; padding-right: 1rem; }
}
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .highlight > *, .note { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
)
