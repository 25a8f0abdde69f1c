"""A working directory belongs to one config and one set of rows."""

from __future__ import annotations

import json

import pytest

from sg4v_jax.errors import WorkdirError
from sg4v_jax.train import workdir

CONFIG = {
    "model": {"preset": "sg4v-test"},
    "optim": {"steps": 12, "rules": (("tower", "frozen"), (".*", "all"))},
    "run": {"seed": 0, "log_every": 1, "mesh": {"fsdp": -1}},
}


def changed(**fields) -> dict:
    """CONFIG with `room__field=value`."""
    new = json.loads(json.dumps(CONFIG))
    for name, value in fields.items():
        room, field = name.split("__")
        new[room][field] = value
    return new


def test_the_same_config_may_come_again(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    before = (tmp_path / "config.json").read_text()
    workdir.claim(tmp_path, CONFIG)  # whose tuples have become lists in the file
    workdir.check(tmp_path, changed())
    assert (tmp_path / "config.json").read_text() == before


def test_checking_claims_nothing(tmp_path):
    workdir.check(tmp_path, CONFIG)
    workdir.claim(tmp_path, changed(optim__steps=13))


def test_every_difference_is_shown(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    other = changed(optim__steps=20, run__seed=1, optim__clip=0.5)
    other["optim"]["rules"][0][1] = "all"
    with pytest.raises(WorkdirError) as error:
        workdir.claim(tmp_path, other)
    message = error.value.message
    assert str(tmp_path) in message
    assert "optim.steps: 12 there, 20 now" in message
    assert "run.seed: 0 there, 1 now" in message
    assert "optim.clip: None there, 0.5 now" in message
    assert "optim.rules" in message
    assert "model" not in message
    assert "--workdir" in error.value.mend
    assert json.loads((tmp_path / "config.json").read_text())["optim"]["steps"] == 12


def test_how_a_run_is_carried_out_may_change(tmp_path):
    workdir.claim(tmp_path, CONFIG)
    free = changed(run__log_every=9, run__mesh={"data": 2}, run__workers=4, run__threads=7)
    workdir.check(tmp_path, changed() | {"run": free["run"] | {"keep": 9, "save_every": 1}})


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    workdir.check_data(tmp_path, {}, plan="new")
    workdir.check_data(tmp_path, {"row": 4, "plan": "same"}, plan="same")
    with pytest.raises(WorkdirError, match="rows of plan old, the data gives new"):
        workdir.check_data(tmp_path, {"row": 4, "plan": "old"}, plan="new")
