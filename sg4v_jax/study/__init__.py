"""The caption-quality study: what captions teach a video-language model, with its uncertainty.

pictures.py   scenes as grids, and contact sheets of unrelated stills for pre-training
records.py    what each arm trains on, what all are asked, in files
"""
