"""The caption-quality study: what captions teach a video-language model, with its uncertainty.

pictures.py     scenes as grids, and contact sheets of unrelated stills for pre-training
records.py      what each arm trains on, what all are asked, in files
likelihood.py   how likely a model finds each option; shared_parts.py has samples share what is alike
evaluate.py     a model's answers to the questions of a split, in a file and in sums; it reads them
                with videos.py, has clips described with captioning.py, and counts with accuracy.py
slots.py        which words of true captions a model predicts that only the clip can give
guessers.py     what the texts of questions give away without a clip
probe.py        what a linear map reads in the features of the tower
"""
