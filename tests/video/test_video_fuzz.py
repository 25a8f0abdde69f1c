"""Damaged files of every kind: a typed error or frames, never a hang, a crash or a wrong claim."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).with_name("fuzz_videos.py")


def test_damaged_files(tmp_path):
    """In a process of its own: a crash in C fails this test alone."""
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, "504", "0"],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    report = json.loads(done.stdout.splitlines()[-1])
    assert not report["wrong"], "\n".join(report["wrong"])
    outcomes = {suffix: collections.Counter(c) for suffix, c in report["outcomes"].items()}
    for suffix, counts in outcomes.items():
        out_of_order = counts.pop("out of order", 0)
        assert counts.total() == 63, suffix
        # Formats without check sums or an index cannot tell all damage of the pictures.
        assert out_of_order <= 6, (suffix, counts)
        assert counts["clean"] >= 1 and counts["CorruptVideoError"] >= 1, (suffix, counts)
    everything = sum(outcomes.values(), collections.Counter())
    assert everything["substituted"] > 60 and everything["clean"] > 60, everything
