"""The caption-quality study: what captions teach a video-language model, with its uncertainty.

pictures.py   scenes as grids, and contact sheets of unrelated stills for pre-training
records.py    what each arm trains on, what all are asked, in files
results.py    what a study has left in its folder
measures.py   a run's numbers by name, and their means over seeds
analysis.py   all numbers of a report: contrasts.py, gates.py, doses.py; totals.py by video
verdict.py    what the numbers say, in words
report.py     the pages: tables, figures, examples, appendix
"""
