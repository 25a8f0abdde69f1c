"""The published numbers agree with each other, and every one says where it comes from."""

from __future__ import annotations

import ast
import copy
import pathlib
import re

import pytest

from sg4v_jax import files
from sg4v_jax.errors import RecordError
from sg4v_jax.evals import published
from sg4v_jax.world.as_mvbench import TASKS

PACKAGE = pathlib.Path(published.__file__).parent.parent


@pytest.fixture(scope="module")
def found():
    return published.load()


def test_each_value_has_a_status_and_a_source(found):
    rows = [*found.results, *found.caption_gains, *found.caption_ablation]
    assert {row.status for row in rows} <= set(published.STATUSES)
    assert all(row.source for row in rows)
    # Nothing was read in the paper itself, so nothing may say so.
    assert not any(row.status == "checked" for row in rows)


def test_headlines_of_the_paper(found):
    own = {b: found.of(b)[0] for b in ("tempcompass", "videobench", "mvbench")}
    assert {b: r.value for b, r in own.items()} == {
        "tempcompass": 61.5,
        "videobench": 41.2,
        "mvbench": 51.2,
    }
    assert all(r.model == "ShareGPT4Video-8B" for r in own.values())
    assert "never published" in own["videobench"].note and "never" in found.notes["videobench"]


def test_mvbench_rows_have_twenty_cells_that_give_their_average(found):
    rows = [r for r in found.of("mvbench") if r.cells]
    assert len(rows) == 5
    for row in rows:
        assert list(row.cells) == list(TASKS)
        assert sum(row.cells.values()) / 20 == pytest.approx(row.value, abs=0.0501), row.model
        assert all(value % 0.5 == 0 for value in row.cells.values())  # 200 questions each


def test_rows_over_three_benchmarks_have_their_mean(found):
    for row in (*found.caption_gains, *found.caption_ablation):
        mean = sum(row.values[k] for k in ("videobench", "mvbench", "tempcompass")) / 3
        assert mean == pytest.approx(row.values["average"], abs=0.0501), row
    gains = {r.name: r.values["average"] for r in found.caption_gains}
    for model, gain in found.average_gains.items():
        assert gains[f"{model} + ShareGPT4Video"] - gains[model] == pytest.approx(gain, abs=0.051)
    last = found.caption_ablation[-1]
    assert [last.values[b] for b in ("tempcompass", "videobench", "mvbench")] == [61.5, 41.2, 51.2]
    assert [(r.facts["captions"], r.facts["vit_unlocked"]) for r in found.caption_ablation] == [
        ("none", False),
        ("short", False),
        ("short", True),
        ("detailed", False),
        ("detailed", True),
    ]


def test_recalled_cells_carry_a_mark_and_missing_ones_say_so(found):
    assert found.caption_ablation[0].cell("mvbench") == "47.2†"
    assert found.caption_ablation[-1].cell("mvbench") == "51.2"
    assert found.of("mvbench")[0].cell("action_antonym") == "79.5"
    assert found.of("tempcompass")[0].cell("yes_no") == "n/a"
    assert found.of("videochatgpt")[0].shown == "n/a"
    assert published.legend({"recalled"}) == "† recalled, not checked against the paper"
    assert published.legend({"n/a", "quoted by others"}) == ""


def test_the_papers_headlines_are_in_no_code():
    for room in ("evals", "report", "study", "tasks", "cli"):
        for path in (PACKAGE / room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            numbers = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
            assert not numbers & {61.5, 61.59, 41.2, 51.2}, path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["results"][0].update(status="certain"), "status 'certain'"),
        (lambda v: v["results"][0].update(value=None), "value None with status"),
        (lambda v: v["results"][0].update(value=512.0), "512.0 is no percentage"),
        (lambda v: v["results"][0].update(colour="red"), "colour"),
        (lambda v: v["caption_ablation"]["rows"][0]["values"].pop("mvbench"), "153K VQA, mvbench"),
        (lambda v: v.pop("notes"), "notes"),
    ],
)
def test_a_damaged_file_is_told(change, message):
    value = copy.deepcopy(files.read_json(files.path(published.FILE)))
    change(value)
    with pytest.raises(RecordError, match=re.escape(message)):
        published.parse(value, where="here")
