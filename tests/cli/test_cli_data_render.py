"""`sg4v data render`: stores of a config's parts, by worker processes, again at no cost."""

from __future__ import annotations

import pytest

from sg4v_jax.data.readers import READERS
from sg4v_jax.data.store import catalog


@pytest.mark.slow
def test_parts_become_stores(tiny, tmp_path):
    words = ("data", "render", f"--config={tiny.config_file}", f"--out={tmp_path}", "--shards=2")
    done = tiny.run(*words)
    assert done.returncode == 0, done.stderr
    records = len(READERS["arrayrecord"](tmp_path / "train", root=""))
    assert f"train: {records} records, 2 shards" in done.stdout
    assert catalog.load(tmp_path / "train").made["codec"] == "tiff"
    wrong = tiny.run(*words, "--parts=other")
    assert wrong.returncode == 2 and "--parts: no part 'other'" in wrong.stderr
