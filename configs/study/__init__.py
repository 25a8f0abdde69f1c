"""Configs of the caption-quality study: `sg4v study run --config=configs/study/NAME.py`."""
