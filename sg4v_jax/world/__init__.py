"""A small procedural video world: scenes, their pictures, captions and questions, with full truth.

scene.py      what happens: one object, two events in order; the state at any frame
render.py     scene -> u8 frames
captions.py   scene -> short, detailed and static captions
questions.py  scene -> questions with answers, temporal ones free of single-frame shortcuts
parse.py      text -> which option, which events (reads answers and captions back)
aspects/      the larger world of the caption-quality study
dataset.py    many scenes -> a folder of mp4 files, truth, captions, questions, training records
facts.py      scene -> what benchmarks ask, with a claim for each option
benchmark.py  many scenes -> a made-up benchmark in the files of a real one (as_*.py)
"""
