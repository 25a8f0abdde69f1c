"""The table of recipes: cells that are kept, what makes them stale, the block in a Markdown file."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sg4v_jax import sharding
from sg4v_jax.chips import GIB
from sg4v_jax.cli import main
from sg4v_jax.errors import ConfigError, RecordError
from sg4v_jax.plan import case, reading, show, table, topology, training

HLO = """\
HloModule jit_step

ENTRY %main (p: bf16[64,256]) -> bf16[256,256] {
  %all-gather.1 = bf16[256,256]{1,0} all-gather(%p), channel_id=1, replica_groups=[1,64]<=[64], dimensions={0}
  ROOT %copy.1 = bf16[256,256]{1,0} copy(%all-gather.1), backend_config={"estimated_cycles":"1750000"}, metadata={op_name="jit(step)/layer"}
}
"""


def planned(one: case.Case, *, fits: bool = True) -> dict:
    """A plan in the form of `training.plan`, with made-up numbers."""
    usable = one.slice.chip.hbm
    total = (0.5 if fits else 1.5) * usable
    return {
        "label": "compiled for, not run on, TPU",
        "what": "training step",
        "slice": one.slice.name,
        "common_name": one.slice.common_name,
        "chips": one.slice.chips,
        "mesh": {**dict.fromkeys(sharding.AXES, 1), **one.mesh},
        "rows": one.config.data.batch_rows,
        "accumulate": one.config.data.accumulate,
        "row": {"positions": 6144, "tiles": 10, "scored": 2048, "synthetic": False},
        "own_rows": training.describe_recipe(one.recipe),
        "remat": one.config.model.remat,
        "parameters": {"trained": 10**9, "frozen": 10**6},
        "flags": one.all_flags(),
        "remarks": ["weights are not here"],
        "memory": {
            "parts": {"trained": GIB, "slots": 2 * GIB, "frozen": 0, "batch": 0},
            "usable": usable,
            "arguments": 3 * GIB,
            "temporaries": total - 3 * GIB,
            "outputs": 0,
            "code": 0,
            "total": total,
        },
        "fits": fits,
        "over": 0.0 if fits else total - usable,
        "advice": "a larger slice",
        "time": {
            "compute": 1.5,
            "attention": 0.05,
            "kernels": {"splash_mha_fwd": 64.0},
            "exposed": 0.2,
            "hidden": 0.1,
            "seconds": 1.75,
            "range": [1.49, 2.01],
            "collectives": [
                {"kind": "all-gather", "count": 9, "bytes": GIB, "sent": GIB, "overlapped": GIB / 2}
            ],
            "slowest": [[0.5, "fusion.1", "jit(step)/dot_general"]],
        },
        "mfu": {"compute": 0.56, "step": 0.48},
        "bound": "computation",
        "speed": {"tokens_per_s_chip": [4000, 5000], "samples_per_s": [60, 80]},
        "flops": {"model_per_chip": 4e14, "parts_per_chip": {"llm": 4e14}},
        "recipe": {
            "samples_a_row": 2,
            "samples_a_step": 128,
            "samples": 181_000,
            "steps": 1415,
            "hours": [0.59, 0.79],
            "chip_hours": [18.7, 25.3],
        },
        "versions": {"jax": "1", "libtpu": "2"},
        "compile_seconds": 130.0,
    }


def text_of(plan: dict, **how) -> str:
    out = io.StringIO()
    show.print_plan(plan, console=Console(width=100, file=out), **how)
    return out.getvalue()


@pytest.fixture
def one():
    return table.cells()[0].case()


def test_every_cell_is_a_case_that_divides():
    cells = table.cells()
    assert {c.slice for c in cells} == set(table.SLICES)
    assert len({c.name for c in cells}) == len(cells) == 21
    for cell in cells:
        made = cell.case()
        sizes = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1, **made.mesh}
        assert sizes["fsdp"] * sizes["tensor"] == made.slice.chips
        assert made.config.data.batch_rows % (made.config.data.accumulate * sizes["fsdp"]) == 0
        assert made.budget is None  # the recipe's own rows


def test_cells_are_compiled_once(tmp_path):
    wanted, asked = table.cells()[:3], []

    def plan(made):
        asked.append(made.slice.name)
        return planned(made)

    first = table.make(wanted[:2], out=tmp_path, plan=plan)
    second = table.make(wanted, out=tmp_path, plan=plan)
    assert len(asked) == 3  # two, then the one that was missing
    assert {k: second[k] for k in first} == first
    assert table.kept(wanted, out=tmp_path) == second


def test_what_decides_a_cell_makes_it_stale(tmp_path, monkeypatch, one):
    key = table.key_of(one)
    assert key == table.key_of(table.cells()[0].case())
    with one.config.unlocked():
        one.config.optim.vocab_chunks += 1
    assert table.key_of(one) != key
    again = table.cells()[0].case()
    monkeypatch.setattr(case, "versions", lambda: {"jax": "another"})
    assert table.key_of(again) != key
    monkeypatch.undo()
    monkeypatch.setattr(table, "code_hash", lambda: "another")
    assert table.key_of(again) != key


def test_a_stopped_run_leaves_whole_cells(tmp_path):
    wanted = table.cells()[:2]

    def plan(made):
        if made.slice.name == wanted[1].case().slice.name:
            raise KeyboardInterrupt
        return planned(made)

    with pytest.raises(KeyboardInterrupt):
        table.make(wanted, out=tmp_path, plan=plan)
    assert [p.name for p in tmp_path.iterdir()] == [f"{wanted[0].name}.json"]


def test_the_table_names_what_does_not_fit_and_what_is_missing():
    wanted = table.cells()[:4]
    plans = {wanted[0].name: planned(wanted[0].case())}
    plans[wanted[1].name] = planned(wanted[1].case(), fits=False)
    refused = planned(wanted[2].case())
    del refused["time"]
    refused |= {"fits": False, "refused": {"needed": 20 * GIB, "available": 15.75 * GIB}}
    plans[wanted[2].name] = refused
    text = table.markdown(wanted, plans)
    assert "**compiled for, not run on, TPU**" in text
    lines = [line for line in text.splitlines() if line.startswith("| full")]
    assert "| 47.9 of 95.7 | 1.49 to 2.01 | 56 % | 0.59 to 0.79 | 19 to 25 |" in lines[0]
    assert "**does not fit**: 23.6 of 15.8" in lines[1]
    assert "**does not fit**: 20.0 of 15.8" in lines[2]
    assert f"Not compiled yet: {wanted[3].name}." in text


def test_the_block_is_replaced_and_the_rest_stays(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(file, "new")
    assert file.read_text() == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    other = tmp_path / "other.md"
    table.write(other, "new")
    assert other.read_text() == f"{table.BEGIN}\nnew\n{table.END}\n"
    file.write_text(f"{table.END}{table.BEGIN}")
    with pytest.raises(ConfigError, match="not a pair"):
        table.write(file, "new")


def test_the_shipped_page_has_the_markers():
    text = (table.pathlib.Path(__file__).parents[2] / "launch" / "README.md").read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1


def test_a_plan_on_the_console(one):
    text = text_of(planned(one), slowest=True)
    for words in (
        "compiled for, not run on, TPU",
        "fits: 47.87 GiB of 95.74 GiB, 47.87 GiB are free",
        "optimizer slots",
        "1.490 s to 2.010 s",
        "hidden communication",
        "56.0 % of the peak while computing",
        "recipe: 181,000 samples, 2 a row, 128 a step, 1,415 steps: 0.59 to 0.79 hours, 19 to 25",
        "kernels a step: splash_mha_fwd 64",
        "own rows: 64 a step of 6144 positions, 10 tiles, 2048 scored; 2 samples a row, 128 a step",
        "500.00  fusion.1  jit(step)/dot_general",
    ):
        assert words in text, words
    rows = [line.split() for line in text.splitlines() if "all-gather" in line]
    assert rows == [["all-gather", "9", "1.00", "1.00", "0.50", "50"]]


def test_a_plan_that_does_not_fit_says_by_how_much(one):
    text = text_of(planned(one, fits=False))
    assert "does not fit: 143.61 GiB of 95.74 GiB, over by 47.87 GiB" in text
    assert "to change: a larger slice" in text


def test_a_program_compiled_elsewhere(tmp_path):
    (tmp_path / "a.hlo").write_text(HLO)
    numbers = {"hlo": "a.hlo", "arguments": ["base.yml", "model=x"], "versions": {"jax": "9"}}
    numbers["memory"] = {"arguments": GIB, "temporaries": GIB}
    (tmp_path / "a.json").write_text(json.dumps(numbers))
    slice_ = topology.parse("v6e-64")
    plan = reading.plan(tmp_path / "a.json", slice_)
    assert plan["time"]["compute"] == pytest.approx(1e-3)
    assert plan["time"]["exposed"] == pytest.approx(256 * 256 * 2 * 63 / 64 / (2 * 90e9))
    assert plan["memory"]["total"] == 2 * GIB
    text = text_of(plan)
    assert "model=x" in text
    assert "base.yml" not in text
    assert reading.plan(tmp_path / "a.hlo", slice_)["memory"]["total"] == 0
    with pytest.raises(RecordError, match="no such file"):
        reading.plan(tmp_path / "b.hlo", slice_)
    (tmp_path / "c.hlo").write_text("not HLO")
    with pytest.raises(RecordError, match="no ENTRY"):
        reading.plan(tmp_path / "c.hlo", slice_)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan"], "plan needs --config and --topology"),
        (["plan", "--all"], "plan --all needs --out"),
        (["plan", "--all", "--out=x", "--cells=v9-full"], "--cells: no cell v9-full"),
        (["plan", "--config=configs/quickstart.py", "--topology=v5e-3"], "v5e has no such slice"),
    ],
)
@pytest.mark.usefixtures("forget_verbs")
def test_what_is_missing_or_unknown_is_told(words, said, capsys):
    assert main.run(words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("forget_verbs")
@pytest.mark.parametrize("fits", [True, False])
def test_a_search_names_the_best_and_its_command(fits, tmp_path, monkeypatch, capsys):
    made = []

    def plan(one, *, dump):
        made.append(planned(one, fits=fits))
        made[-1]["time"]["seconds"] = 9.0 - len(made)
        return made[-1]

    monkeypatch.setattr(training, "plan", plan)
    words = ["plan", "--config=configs/sft_8b_lora_181k.py", "--rows=32"]
    words += ["--topology=v5e-16", "--search", f"--json={tmp_path / 'all.json'}"]
    assert main.run(words) == (0 if fits else 3)
    out = capsys.readouterr().out.splitlines()
    plans = json.loads((tmp_path / "all.json").read_text())
    assert len(plans) == len(made) >= (3 if fits else 1)
    best = plans[0]
    assert out[-1].endswith(f": {best['command']}")
    assert best["command"].startswith(
        "sg4v plan --config=configs/sft_8b_lora_181k.py --topology=v5e-16 --rows=32 --mesh=fsdp="
    )
    assert f"--config.data.accumulate={best['accumulate']}" in best["command"]
    listed = out[1 : 1 + len(plans)]
    assert all(", remat " in line and ("does not fit" in line) != fits for line in listed)
    if fits:
        assert best["time"]["seconds"] == 6.0
