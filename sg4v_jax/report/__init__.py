"""The report kit: one self-contained HTML page, charts and statistics, for any subject.

`html` builds the page, `plot` draws inline SVG charts, `stats` gives intervals and tests. `scale`
(axis numbers), `svg` (markup) and `style` (colours, CSS) serve the first two. Nothing here knows
what it shows, and nothing here imports jax.
"""
