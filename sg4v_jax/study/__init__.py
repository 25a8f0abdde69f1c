"""The caption-quality study: what captions teach a video-language model, with its uncertainty.

design.py       arms, and the runs of a design
pictures.py     scenes as grids, and contact sheets of unrelated stills for pre-training
records.py      what each arm trains on, what all are asked
data.py         all of it in files, once
training.py     bases and arms as configs of `sg4v train`
work.py         one base or one arm, trained and asked: the work of a job
run.py          the whole study: `sg4v study run`
likelihood.py   how likely a model finds each option; shared_parts.py has samples share what is alike
evaluate.py     a model's answers to the questions of a split, in a file and in sums; it reads them
                with videos.py, has the model describe clips with captioning.py, counts with accuracy.py
slots.py        which words of true captions a model predicts that only the clip can give
guessers.py     what the texts of questions give away without a clip
probe.py        what a linear map reads in the features of the tower; probing.py: of all towers
results.py      what a study has left in its folder
measures.py     a run's numbers by name, and their means over seeds
analysis.py     all numbers of a report: contrasts.py, gates.py, doses.py; totals.py by video
verdict.py      what the numbers say, in words
report.py       the pages: tables, figures, examples, appendix
"""
