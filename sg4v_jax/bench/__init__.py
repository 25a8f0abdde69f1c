"""Paired measurements: ours against another way, in one run, on the same work."""
