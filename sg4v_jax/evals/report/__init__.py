"""Runs of benchmarks -> one page: the paper's tables with one's own rows, intervals, comparisons.

runs.py      a run's folder, as `sg4v eval predict` and `score` leave it
averages.py  each average by its name, with its interval over videos
compare.py   two runs on the same questions: McNemar, paired bootstrap
notes.py     what stands between a run and a comparison with published numbers
examples.py  right and wrong answers with what the model saw
tables.py    the tables and charts of one benchmark
page.py      the page

No model is called here; videos are opened for examples alone.
"""
