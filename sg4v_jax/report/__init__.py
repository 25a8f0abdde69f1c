"""The report kit: one self-contained HTML page, charts and statistics, for any subject.

`html` builds the page, `markdown` the same page as text, `plot` and `radar` draw inline SVG charts,
`stats` and `bootstrap` give intervals and tests. `scale` (axis numbers), `svg` (markup) and `style`
(colours, CSS) serve them; `machine` says what something ran on. Nothing here knows what it shows,
and nothing here imports jax.
"""
