"""Samples longer than a row: refused, dropped, or cut as the original cuts them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sg4v_jax.data import layout
from sg4v_jax.data.index import build_index
from sg4v_jax.data.inputs import measure
from sg4v_jax.data.layout import SEPARATOR, TEXT, Sequence1D, truncate
from sg4v_jax.data.packing import Budget, excess
from sg4v_jax.data.record import Record
from sg4v_jax.errors import BudgetError, ConfigError, RecordError
from sg4v_jax.text.chat import Turn


def sequence(tokens, visual, tiles, loss_index) -> Sequence1D:
    tokens, visual, loss_index = (np.array(x, np.int32) for x in (tokens, visual, loss_index))
    return Sequence1D(tokens, visual, tiles, loss_index, tokens[loss_index + 1])


def test_worked_example():
    whole = sequence([5, 0, 0, 0, 0, 8, 9], [-1, 0, 1, SEPARATOR, 2, -1, -1], 3, [3, 4, 5])
    cut = truncate(whole, positions=4, patches=1)
    assert cut.tokens.tolist() == [5, 0, 0, 0]
    assert cut.visual_index.tolist() == [TEXT, 0, 1, SEPARATOR]
    assert cut.tiles == 2 and cut.loss_index.tolist() == [] and cut.targets.tolist() == []
    # One position more: the target at 4 is still a picture's, so that 3 says what stands there.
    more = truncate(whole, positions=5, patches=1)
    assert more.tiles == 3 and more.loss_index.tolist() == [3] and more.targets.tolist() == [0]
    assert truncate(whole, positions=7, patches=1) is whole


def test_every_cut_against_a_slow_reference():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, patches = int(rng.integers(2, 20)), int(rng.integers(1, 3))
        tiles = int(rng.integers(0, 4))
        table = tiles * patches**2
        visual = rng.choice([TEXT, SEPARATOR, *range(table)], n)
        scored = np.flatnonzero(rng.random(n - 1) < 0.5)
        whole = sequence(rng.integers(1, 99, n), visual, tiles, scored)
        positions = int(rng.integers(1, n + 3))
        cut = truncate(whole, positions=positions, patches=patches)
        if positions >= n:
            assert cut is whole
            continue
        assert cut.tokens.tolist() == whole.tokens.tolist()[:positions]
        seen = [v // patches**2 for v in whole.visual_index.tolist()[:positions] if v >= 0]
        assert cut.tiles == (max(seen) + 1 if seen else 0)
        # The labels that the original still has after its cut, each said one position before.
        said = [(i, int(whole.tokens[i + 1])) for i in scored.tolist() if i + 1 < positions]
        assert list(zip(cut.loss_index.tolist(), cut.targets.tolist(), strict=True)) == said


def test_excess():
    budget = Budget(512, 10, 160)
    assert excess((700, 11, 20), budget=budget) == (0, "needs 700 positions, a row has 512")
    assert excess((512, 11, 20), budget=budget) == (1, "needs 11 tiles, a row has 10")
    assert excess((512, 10, 161), budget=budget) == (2, "needs 161 scored, a row has 160")
    assert excess((512, 10, 160), budget=budget) is None


@pytest.fixture
def talks(records):
    """A record of a video with a short answer, and the same with a long one."""
    [video] = records[0].visuals
    asked = Turn("user", "<image>\nWhat moves?")
    long = "A red ball falls. " * 12
    return tuple(
        Record(name, "a.json", (video,), (asked, Turn("assistant", answer)))
        for name, answer in (("short", "A ball."), ("long", long))
    )


def index_of(talks, spec, tokenizer, **options):
    return build_index(talks, spec=spec, tokenizer=tokenizer, max_skipped=0.9, **options)


@pytest.fixture
def budget(talks, spec, tokenizer) -> Budget:
    """Room for the short record, and for half of what the long one has more."""
    short, long = (measure(r, spec=spec, tokenizer=tokenizer).lengths for r in talks)
    assert long[0] > short[0] + 30
    return Budget((short[0] + long[0]) // 2, 5, 400)


def test_by_default_it_stops_the_run(talks, budget, make_rows, spec, tokenizer):
    index = index_of(talks, spec, tokenizer)
    with pytest.raises(BudgetError, match=r"record 'long': needs \d+ positions") as caught:
        make_rows(index=index, budget=budget)
    assert "data.too_long" in caught.value.mend


def test_it_can_be_dropped_and_is_counted(talks, budget, make_rows, spec, tokenizer):
    index = index_of(talks, spec, tokenizer, too_long="drop", budget=budget)
    assert [r.id for r in index.records] == ["short"] and index.truncated == 0
    [(where, reason)] = index.skipped
    assert where == "a.json: record 'long'"
    assert reason.startswith("too long: needs ") and f"a row has {budget.positions}" in reason
    assert (make_rows(index=index, budget=budget, batch_rows=1)[0].segments > 0).any()


@pytest.mark.parametrize("field", ["tiles", "scored"])
def test_dropping_looks_at_all_budgets(talks, spec, tokenizer, field):
    small = dataclasses.replace(Budget(9999, 5, 400), **{field: 4})
    with pytest.raises(RecordError, match=f"2 of 2 records .*: too long: needs .* {field}"):
        index_of(talks, spec, tokenizer, too_long="drop", budget=small)


def test_it_can_be_cut(talks, budget, make_rows, spec, tokenizer):
    index = index_of(talks, spec, tokenizer, too_long="truncate", budget=budget)
    assert [r.id for r in index.records] == ["short", "long"]
    assert not index.skipped and index.truncated == 1
    assert index.lengths[1, 0] == budget.positions
    rows = make_rows(index=index, budget=budget, batch_rows=2)
    batch = rows[next(r for r in range(2) if 1 in rows.records_of(r))]
    layout.check(batch, patches=2, separators=1, vocab_size=320)
    assert (batch.segments == 1).all()
    scored = batch.loss_index[batch.loss_index >= 0]
    assert len(scored) == index.lengths[1, 2] and scored.max() == budget.positions - 2
    whole, _ = spec.record_sequence(talks[1], sizes=index.sizes[1], tokenizer=tokenizer)
    np.testing.assert_array_equal(batch.tokens, whole.tokens[: budget.positions])
    np.testing.assert_array_equal(batch.targets[: len(scored)], whole.targets[: len(scored)])


def test_a_cut_within_the_second_picture(talks, make_rows, spec, tokenizer):
    """Its answer comes before it; tiles that no position looks at leave the row."""
    [video] = talks[0].visuals
    turns = (*talks[0].turns, Turn("user", "And <image>?"), Turn("assistant", "A cube."))
    record = Record("two", "a.json", (video, video), turns)
    whole = measure(record, spec=spec, tokenizer=tokenizer)
    sequence, _ = spec.record_sequence(record, sizes=whole.sizes, tokenizer=tokenizer)
    visual = np.flatnonzero(sequence.visual_index != TEXT)
    second = visual[np.flatnonzero(np.diff(visual) > 1)[0] + 1]
    budget = Budget(int(second) + 5, 10, 400)  # the overview's four patches and one tile's first
    index = build_index(
        [record], spec=spec, tokenizer=tokenizer, too_long="truncate", budget=budget
    )
    assert index.lengths[0].tolist()[:2] == [second + 5, 7]
    batch = make_rows(index=index, budget=budget, batch_rows=1)[0]
    layout.check(batch, patches=2, separators=1, vocab_size=320)
    pixels = spec.tiles(spec.load(video).pixels)
    np.testing.assert_array_equal(batch.tiles[:7], np.concatenate([pixels, pixels[:2]]))
    assert not batch.tiles[7:].any()


def test_nothing_left_to_train_is_dropped(talks, spec, tokenizer):
    visual_only = Budget(20, 5, 400)
    with pytest.raises(RecordError, match="nothing to train on in its first 20 of"):
        index_of(talks, spec, tokenizer, too_long="truncate", budget=visual_only)


def test_a_cut_sample_may_still_have_too_much_else(talks, make_rows, spec, tokenizer, budget):
    index = index_of(talks, spec, tokenizer, too_long="truncate", budget=budget)
    with pytest.raises(BudgetError, match="needs 5 tiles, a row has 4"):
        make_rows(index=index, budget=dataclasses.replace(budget, tiles=4))


@pytest.mark.parametrize(
    "options", [dict(too_long="cut", budget=Budget(9, 9, 9)), dict(too_long="drop")]
)
def test_settings_that_contradict(talks, spec, tokenizer, options):
    with pytest.raises(ConfigError, match=f"too_long '{options['too_long']}'"):
        index_of(talks, spec, tokenizer, **options)
