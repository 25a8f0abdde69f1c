"""`sg4v goodput` and `sg4v train` of several processes: what they say, and what they refuse."""

from __future__ import annotations

import json

from sg4v_jax.cli.exit_codes import BAD_INPUT

SECONDS = {"init": 5.0, "input": 1.0, "compile": 2.0, "step": 15.0, "save": 2.0, "evaluation": 0.0}
START = {"began": 0.0, "ended": 25.0, "first": 0, "last": 30, "saved": {}, "outcome": "ended"}


def test_it_says_where_the_time_went(tiny, tmp_path):
    ledger = {"starts": [START | {"seconds": SECONDS}]}
    (tmp_path / "goodput.json").write_text(json.dumps(ledger))
    for verb in (("goodput",), ("train", "--goodput")):
        result = tiny.run(*verb, f"--workdir={tmp_path}")
        assert result.returncode == 0, result.stderr
        assert "goodput 60.0 % of 25 s" in " ".join(result.stdout.split())


def test_what_is_missing_is_named(tiny, tmp_path):
    result = tiny.run("goodput", f"--workdir={tmp_path}")
    assert result.returncode == BAD_INPUT
    assert "no goodput.json" in result.stderr and "mend:" in result.stderr
    result = tiny.train(tmp_path, "--processes=4", "--coordinator=127.0.0.1:1")
    assert result.returncode == BAD_INPUT
    assert "not --process (or JAX_PROCESS_ID)" in result.stderr
