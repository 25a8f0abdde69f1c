"""Weighted mixes: exact epochs of every part, the same on any number of hosts and workers."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from sg4v_jax.data.draws import Draws, repeats
from sg4v_jax.data.index import build_index
from sg4v_jax.data.mixture import Part, parts_of, read_mix, weights_of
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.store.write import write_shards
from sg4v_jax.errors import ConfigError

SIZES = {"a": 7, "b": 10, "c": 3}
PARTS = [name for name, size in SIZES.items() for _ in range(size)]
ROOT = pathlib.Path(__file__).parents[2]
_SLOW_1, _SLOW_3 = (pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))


def stream(weights, part: str, *, epochs: int, seed: int = 0) -> list[int]:
    """What an epoch after the other draws from one part."""
    draws = Draws(PARTS, weights=weights, seed=seed)
    return [n for e in range(epochs) for n in draws.of(e).tolist() if PARTS[n] == part]


@pytest.mark.parametrize("weight", [1, 0.1, 0.25, 0.5, 1.5, 2, 3.3])
def test_each_record_comes_once_in_each_epoch_of_its_part(weight):
    drawn = stream({"a": 2.0, "b": weight}, "b", epochs=20)
    own = [n for n, part in enumerate(PARTS) if part == "b"]
    assert len(drawn) == round(20 * 10 * weight)  # no drift: 20 epochs are whole numbers here
    for turn in range(0, len(drawn) // 10 * 10, 10):
        assert sorted(drawn[turn : turn + 10]) == own


def test_every_mix_epoch_has_its_share():
    draws = Draws(PARTS, weights={"a": 0.5, "b": 1.25}, seed=3)
    for epoch in range(12):
        counts = collections.Counter(PARTS[n] for n in draws.of(epoch))
        assert counts["c"] == 3
        assert counts["a"] in (3, 4) and counts["b"] in (12, 13)


def test_weights_of_one_leave_all_as_it_was():
    draws = Draws(PARTS, weights={"a": 1, "b": 1.0}, seed=5)
    assert draws.plain and draws.digest() == ""
    np.testing.assert_array_equal(draws.of(7), np.arange(len(PARTS)))


def test_draws_depend_on_seed_epoch_and_part_alone():
    one, other = {"b": 0.5}, {"a": 2, "b": 0.5}
    assert stream(one, "b", epochs=4) == stream(other, "b", epochs=4)
    assert stream(one, "b", epochs=4) != stream(one, "b", epochs=4, seed=1)
    digests = {Draws(PARTS, weights=w, seed=s).digest() for w in (one, other) for s in (0, 1)}
    assert len(digests) == 4


def test_repeats_are_counted():
    assert repeats(np.array([5, 3, 5, 5, 3])).tolist() == [0, 0, 1, 2, 1]
    assert repeats(np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "2"])
def test_weights_that_are_none(weight):
    with pytest.raises(ConfigError, match="weight"):
        Draws(PARTS, weights={"a": weight}, seed=0)
    with pytest.raises(ConfigError, match="weight"):
        Part(name="a", file="a.json", weight=weight)


def test_a_weighted_part_without_records_and_an_epoch_without_any():
    with pytest.raises(ConfigError, match="'d' has a weight, but no records"):
        Draws(PARTS, weights={"d": 2}, seed=0)
    with pytest.raises(ConfigError, match="epoch 0 of the mix holds no record"):
        Draws(["a"], weights={"a": 0.5}, seed=0).of(0)


@pytest.fixture(scope="module")
def mix(folder):
    """Two parts of the rendered data set, one half as often and one 1.5 times."""
    rows = json.loads((folder / "train.json").read_text())
    for name, part in (("first", rows[:8]), ("rest", rows[8:])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    return parts_of(
        {
            "parts": [
                dict(name="first", file=str(folder / "first.json"), weight=0.5),
                dict(name="rest", file=str(folder / "rest.json"), weight=1.5),
            ]
        }
    )


@pytest.fixture(scope="module")
def weighted(mix, spec, tokenizer, make_rows):
    index = build_index(read_mix(mix), spec=spec, tokenizer=tokenizer)
    return lambda **changes: make_rows(index=index, weights=weights_of(mix), **changes)


def contents(rows, *, steps) -> list[list[int]]:
    return [rows.records_of(r).tolist() for r in range(steps * rows.batch_rows)]


def test_rows_hold_what_the_mix_draws(weighted):
    rows = weighted()
    for epoch in range(4):
        drawn = np.concatenate(
            [rows.plan(epoch).rows[r] for r in range(len(rows.plan(epoch).rows))]
        )
        assert len(drawn) == len(rows._draws.of(epoch))
    first = [rows.records_of(r) for r in range(rows.steps_in(0) * rows.batch_rows)]
    assert sorted(np.concatenate(first).tolist()) == sorted(rows._draws.of(0).tolist())
    assert rows.digest() != weighted(seed=1).digest() != rows.plan(0).digest()
    counted = sum((rows[r].segments.max() for r in range(len(first))), start=0)
    assert counted == sum(map(len, first))


def test_a_part_counts_as_much_in_the_loss_as_it_says(weighted, mix):
    plain, counted = weighted(), weighted(loss_weights={"first": 0.25, "rest": 1.0})
    assert counted.digest() != plain.digest() == weighted(loss_weights={"first": 1.0}).digest()
    seen = set()
    for row in range(plain.steps_in(0) * plain.batch_rows):
        parts = [plain.index.records[n].part for n in plain.records_of(row)]
        want, got = plain[row], counted[row]
        scale = np.zeros(len(want.loss_weights), np.float32)
        at = want.loss_index >= 0
        share = {name: {"first": 0.25, "rest": 1.0}[name] for name in parts}
        scale[at] = [share[parts[s - 1]] for s in want.segments[want.loss_index[at]]]
        np.testing.assert_array_equal(got.loss_weights, want.loss_weights * scale)
        np.testing.assert_array_equal(got.tokens, want.tokens)
        seen |= set(parts)
    assert seen == {"first", "rest"}


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), True, "much"])
def test_a_loss_weight_that_cannot_be(value):
    with pytest.raises(ConfigError, match="loss_weight"):
        Part(name="a", file="a.json", loss_weight=value)


def assert_equal(got, want) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 3])  # 3: in the middle of the second epoch
def test_hosts_join_to_the_same_batches_from_anywhere(weighted, hosts, start):
    rows = weighted()
    whole = [r.batch for r in batches(rows, start=0, stop=5)]
    parts = [
        [r.batch for r in batches(weighted(), start=start, stop=5, shard=(i, hosts))]
        for i in range(hosts)
    ]
    for step, want in enumerate(whole[start:]):
        for field, value in enumerate(want):
            joined = np.concatenate([part[step][field] for part in parts])
            np.testing.assert_array_equal(joined, value)


# Each worker process imports Grain, which takes seconds.
@pytest.mark.parametrize("workers", [_SLOW_1, 2, _SLOW_3])
def test_worker_processes_give_the_same_batches(weighted, workers):
    want = [r.batch for r in batches(weighted(), start=1, stop=4)]
    got = [r.batch for r in batches(weighted(), start=1, stop=4, workers=workers)]
    for a, b in zip(got, want, strict=True):
        assert_equal(a, b)


def test_a_repeated_record_weighs_by_each_of_its_microbatches(weighted):
    rows = weighted(norm="microbatch", microbatch=4)
    total = sum(float(rows[r].loss_weights.sum()) for r in range(rows.steps_in(0) * 4))
    groups = -(-len(rows._draws.of(0)) // 4)
    assert total == pytest.approx(groups, rel=1e-5)


def test_frames_of_a_repeated_record_are_drawn_anew(mix, spec, tokenizer, make_rows):
    part = read_mix(mix)[:2]
    index = build_index(part, spec=spec, tokenizer=tokenizer)
    rows = make_rows(index=index, weights={"first": 3.0}, sampling="rand")
    shown = [rows.pictures(0, epoch=0, repeat=k)[0].pixels for k in range(3)]
    assert not np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[1], shown[2])
    np.testing.assert_array_equal(
        shown[0], make_rows(index=index, sampling="rand").pictures(0, epoch=0)[0].pixels
    )


# What one host of a run of several does: its own process, its own rows.
HOST = """
import json, sys
import numpy as np
from sg4v_jax.data.index import build_index
from sg4v_jax.data.packing import Budget
from sg4v_jax.data.pipeline import batches
from sg4v_jax.data.readers import READERS
from sg4v_jax.data.rows import Rows
from sg4v_jax.text.tokenizer import Tokenizer
sys.path.insert(0, sys.argv[4])
from conftest_spec import SPEC
host, store, tokenizer = int(sys.argv[1]), sys.argv[2], Tokenizer.from_file(sys.argv[3])
index = build_index(READERS["arrayrecord"](store, root=""), spec=SPEC, tokenizer=tokenizer)
rows = Rows(index, spec=SPEC, tokenizer=tokenizer, budget=Budget(256, 5, 160), batch_rows=4, seed=0)
seen, steps = [], rows.steps_in(0)
for step, read in enumerate(batches(rows, start=0, stop=steps, shard=(host, 4))):
    row = step * 4 + host
    names = [index.records[n].where for n in rows.records_of(row)]
    assert int(read.batch.segments.max()) == len(names)
    seen += [[n, int(read.batch.tiles.sum())] for n in names]
print(json.dumps(seen))
"""


def test_four_processes_read_disjoint_shares_of_an_uneven_store(records, spec, tokenizer, tmp_path):
    store = tmp_path / "store"
    write_shards(records, out=store, spec=spec, shards=4, workers=0)  # 19 records: 4 5 5 5
    tokenizer.save(tmp_path / "tokenizer.json")
    (tmp_path / "conftest_spec.py").write_text(
        "from sg4v_jax.data.inputs import InputSpec\n"
        "from sg4v_jax.video.anyres import AnyRes\n"
        f"SPEC = {spec!r}\n"
    )
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(i), store, tmp_path / "tokenizer.json", tmp_path],
            env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    shares = []
    for host in hosts:
        out, _ = host.communicate(timeout=300)
        assert host.returncode == 0
        shares.append({name for name, tiles in json.loads(out) if tiles})
    assert sum(map(len, shares)) == len(records) == len(set.union(*shares))
    assert len({len(s) for s in shares}) > 1  # nobody was given the same number by force
