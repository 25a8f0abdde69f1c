"""The page of a blinded comparison: captions, questions, and a button that saves the answers.

One file; it fetches nothing. Its one script is named by its hash in the content security policy,
so nothing else can run. Answers stay in the browser until they are saved as a JSON file.
"""

from __future__ import annotations

import base64
import hashlib
import urllib.parse

from sg4v_jax.caption.compare import CRITERIA, SIDES, Item, Sheet
from sg4v_jax.report.plot import data_uri
from sg4v_jax.report.style import CSS
from sg4v_jax.report.svg import escape

_INTRO = (
    "Look at the video, read both captions, and give each caption a point for each thing that it "
    "does well. Judge each caption on its own; both may get the point, or none."
)
_QUESTIONS = {
    "omission or fabrication": "Is it free of omission and fabrication? Everything of weight is "
    "told, and nothing is told that the video does not show.",
    "distortion": "Is it free of distortion? What it tells of is told as it is: who, what, how "
    "many, which colour, which way.",
    "temporal mismatch": "Is it free of temporal mismatch? What happens is told in the order in "
    "which it happens, and nothing early is told as late.",
}
_STYLE = """
main { max-width: 64rem; }
.item { border-top: 1px solid var(--rule); padding-top: 1rem; margin-top: 2.5rem; }
.item h2 { border: 0; margin: 0 0 0.5rem; padding: 0; }
.item img { display: block; max-width: 100%; height: auto; margin-bottom: 0.75rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.25rem; margin-top: 1rem; }
.caption { background: var(--panel); border-radius: 6px; padding: 0.9rem 1.1rem;
  overflow-wrap: break-word; }
.caption p { margin: 0; white-space: pre-wrap; }
fieldset { border: 0; margin: 0; padding: 0; display: flex; gap: 1rem; }
legend { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.item table { width: 100%; table-layout: fixed; }
.item col.wide { width: 60%; }
label { white-space: nowrap; cursor: pointer; }
.item.done h2::after { content: " \\2713"; color: var(--right); }
.bar { position: sticky; bottom: 0; background: var(--paper); border-top: 2px solid var(--muted);
  padding: 0.75rem 0; margin-top: 2.5rem; display: flex; gap: 1rem; align-items: center;
  flex-wrap: wrap; }
.bar button { font: inherit; padding: 0.4rem 1.1rem; cursor: pointer; }
.bar input { font: inherit; padding: 0.35rem 0.5rem; width: 12rem; }
@media (max-width: 40rem) {
  .pair { grid-template-columns: 1fr; }
  fieldset { flex-direction: column; gap: 0.2rem; }
  .item col.wide { width: 56%; }
}
"""
_SCRIPT = """
"use strict";
const sheet = document.querySelector("main").dataset.sheet;
const items = [...document.querySelectorAll(".item")];
const rater = document.getElementById("rater");
const progress = document.getElementById("progress");
const storage = "sg4v-compare-" + sheet;

function points(item, side) {
  const found = [];
  for (let k = 0; k < 3; k++) {
    const name = item.dataset.number + "-" + side + "-" + k;
    const chosen = document.querySelector(`input[name="${name}"]:checked`);
    found.push(chosen ? Number(chosen.value) : null);
  }
  return found;
}

function collect() {
  const answers = {};
  for (const item of items) {
    const left = points(item, "left"), right = points(item, "right");
    const done = !left.concat(right).includes(null);
    item.classList.toggle("done", done);
    if (done) answers[item.dataset.number] = { left: left, right: right };
  }
  return { sheet: sheet, rater: rater.value.trim(), answers: answers };
}

function update() {
  const state = collect();
  progress.textContent = Object.keys(state.answers).length + " of " + items.length + " judged";
  const ticked = [...document.querySelectorAll("input[type=radio]:checked")].map((e) => e.id);
  try {
    localStorage.setItem(storage, JSON.stringify({ rater: rater.value, ticked: ticked }));
  } catch (error) { /* private windows keep nothing */ }
  return state;
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(storage) || "{}");
    rater.value = kept.rater || "";
    for (const id of kept.ticked || []) document.getElementById(id).checked = true;
  } catch (error) { /* nothing kept */ }
}

function save() {
  const state = update();
  if (!state.rater) { rater.focus(); progress.textContent = "please give a name first"; return; }
  const link = document.createElement("a");
  const text = JSON.stringify(state, null, 1) + "\\n";
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "filled-" + sheet + "-" + state.rater.replace(/[^A-Za-z0-9_-]+/g, "_") + ".json";
  document.body.append(link);
  link.click();
  link.remove();
}

restore();
update();
document.addEventListener("change", update);
rater.addEventListener("input", update);
document.getElementById("save").addEventListener("click", save);
"""


def render(sheet: Sheet) -> str:
    """The whole page as HTML. It does not tell which system wrote what."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    count = len(sheet.items)
    shown = "\n".join(_item(item, number, count) for number, item in enumerate(sheet.items, 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Which caption is better?</title>
<style>{CSS}{_STYLE}</style>
</head>
<body>
<main data-sheet="{sheet.id}">
<header><h1>Which caption is better?</h1>
<p class="subtitle">{count} videos, two captions each; sheet {sheet.id}</p></header>
<p>{_INTRO}</p>
<p>Answers are kept in this browser. At the end, or when you pause, save them as a file and send
that file back.</p>
{shown}
<div class="bar"><label>Your name or initials <input id="rater" autocomplete="off"></label>
<button id="save" type="button">Save answers as a file</button>
<output id="progress"></output></div>
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _item(item: Item, number: int, count: int) -> str:
    picture = ""
    if item.picture is not None:
        source = data_uri(item.picture, mime="image/jpeg")
        picture = f'<img src="{source}" alt="16 frames of the video, in order, row by row">'
    if item.link is not None:
        address = escape(urllib.parse.quote(item.link))
        picture += f'<a href="{address}" target="_blank" rel="noopener">Open the video</a>'
    texts = "".join(
        f'<div class="caption"><h3>{side.capitalize()}</h3><p>{escape(text)}</p></div>'
        for side, text in zip(SIDES, (item.left, item.right), strict=True)
    )
    rows = "".join(
        f'<tr><th scope="row">{_QUESTIONS[criterion]}</th>'
        + "".join(f"<td>{_choice(number, side, place, criterion)}</td>" for side in SIDES)
        + "</tr>"
        for place, criterion in enumerate(CRITERIA)
    )
    return (
        f'<section class="item" data-number="{number}"><h2>Video {number} of {count}</h2>'
        f'{picture}<div class="pair">{texts}</div>'
        f'<table><colgroup><col class="wide"><col><col></colgroup><thead><tr>'
        f'<th scope="col">Does the caption get the point?</th><th scope="col">Left</th>'
        f'<th scope="col">Right</th></tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _choice(number: int, side: str, place: int, criterion: str) -> str:
    name = f"{number}-{side}-{place}"
    radios = "".join(
        f'<label><input type="radio" name="{name}" id="{name}-{value}" value="{value}"> '
        f"{word}</label>"
        for value, word in ((1, "yes"), (0, "no"))
    )
    legend = f"Video {number}, {side} caption, free of {criterion}"
    return f"<fieldset><legend>{legend}</legend>{radios}</fieldset>"
