"""A plan as tables on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sg4v_jax.chips import GIB


def print_plan(plan: dict[str, Any], *, console: Console, slowest: bool = False) -> None:
    """Prints what `training.plan` or `generation.plan` returned."""
    for line in heading(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_memory(plan))
    for line in verdict(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if "time" not in plan:
        return
    console.print(_time(plan))
    console.print(_collectives(plan["time"]["collectives"]))
    for line in (slowest_lines(plan) if slowest else []) + closing(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def layout(mesh: Mapping[str, int], remat: str, accumulate: int) -> str:
    """`fsdp 8 x tensor 2, remat full, 4 micro-batches`"""
    sizes = " x ".join(f"{a} {n}" for a, n in mesh.items() if n > 1) or "one device"
    split = f"{accumulate} micro-batches" if accumulate > 1 else "one batch"
    return f"{sizes}, remat {remat}, {split}"


def search_lines(plans: Sequence[dict[str, Any]]) -> list[str]:
    """What `search.search` compiled, a line each."""
    lines = ["Compiled, the best first; in brackets, what the arithmetic had said:"]
    for plan in plans:
        guess, taken = plan["by_arithmetic"], plan["taken"]
        size = f"{'?' if taken is None else f'{taken / GIB:.1f}'} GiB ({guess['bytes'] / GIB:.1f})"
        took = f"{plan['time']['seconds']:.2f} s ({guess['seconds']:.2f})" if "time" in plan else ""
        said = [size, took, "" if plan["fits"] else "does not fit"]
        name = layout(plan["mesh"], plan["remat"], plan["accumulate"])
        lines.append(f"  {name}: {', '.join(filter(None, said))}")
    return lines


def heading(plan: dict[str, Any]) -> list[str]:
    """What was planned."""
    mesh = ", ".join(f"{a} {n}" for a, n in plan["mesh"].items() if n > 1) or "one device"
    names = f"{plan['slice']} ({plan['common_name']}, {plan['chips']} chips)"
    return [
        f"{plan['what']} on {names}: {plan['label']}",
        f"mesh {mesh}; {plan['shape'] if 'shape' in plan else _batch(plan)}",
        *plan["remarks"],
    ]


def _batch(plan: dict[str, Any]) -> str:
    row, count = plan["row"], plan["parameters"]
    kind = "synthetic rows" if row["synthetic"] else "rows"
    split = f" in {plan['accumulate']} micro-batches" if plan["accumulate"] > 1 else ""
    return (
        f"{plan['rows']} {kind} a step{split}, each {row['positions']} positions, {row['tiles']} "
        f"tiles, {row['scored']} scored; remat {plan['remat']}; {count['trained'] / 1e6:,.1f} M "
        f"parameters train, {count['frozen'] / 1e6:,.1f} M are frozen"
    )


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


_PARTS = {
    "trained": "trained parameters (f32 masters)",
    "slots": "optimizer slots",
    "frozen": "frozen parameters",
    "batch": "batch",
    "weights": "weights",
    "cache": "cache of keys and values",
    "other": "rest of the state",
}


def _memory(plan: dict[str, Any]) -> Table:
    memory = plan["memory"]
    table = _table("Memory of a chip", ["part", "GiB", "%"])
    usable = memory["usable"]

    def row(name, value):
        table.add_row(name, f"{value / GIB:.2f}", f"{100 * value / usable:.1f}")

    for name, value in memory["parts"].items():
        row(_PARTS[name], value)
    if "temporaries" in memory:
        known = sum(memory["parts"].values())
        row("padding of those" if known else "arguments", memory["arguments"] - known)
        row("temporaries (compiler's plan)", memory["temporaries"])
        row("outputs beside donated arguments", memory["outputs"])
        row("program", memory["code"])
        row("sum", memory["total"])
    row("usable", usable)
    return table


def verdict(plan: dict[str, Any]) -> list[str]:
    """Fits or not, by how much, and what to change."""
    memory, gib = plan["memory"], lambda b: f"{b / GIB:.2f} GiB"
    if plan["fits"]:
        left = memory["usable"] - memory["total"]
        return [f"fits: {gib(memory['total'])} of {gib(memory['usable'])}, {gib(left)} are free"]
    if "refused" in plan:
        needed, available = plan["refused"]["needed"], plan["refused"]["available"]
        if needed is None:
            line = f"does not fit: {plan['said']}"
        else:
            line = (
                f"does not fit: the compiler needs {gib(needed)} and has {gib(available)}, "
                f"over by {gib(needed - available)}"
            )
    else:
        line = (
            f"does not fit: {gib(memory['total'])} of {gib(memory['usable'])}, "
            f"over by {gib(plan['over'])}"
        )
    return [line, f"to change: {plan['advice']}"]


def seconds(value: float) -> str:
    """1.234 s, or 12.34 ms below a tenth of a second."""
    return f"{value:.3f} s" if value >= 0.1 else f"{1e3 * value:.2f} ms"


def _time(plan: dict[str, Any]) -> Table:
    time = plan["time"]
    table = _table(
        f"Time of {plan.get('unit', 'one step')}, estimated (nothing here is measured)",
        ["part", "", ""],
    )
    table.add_row("computation", seconds(time["compute"]), "cycles / clock")
    table.add_row("Pallas kernels", seconds(time["attention"]), "arithmetic")
    table.add_row("exposed communication", seconds(time["exposed"]), "bytes / links")
    table.add_row("hidden communication", f"({seconds(time['hidden'])})", "beside computation")
    low, high = time["range"]
    table.add_row("in all", f"{seconds(low)} to {seconds(high)}", "15 % either way")
    table.columns[2].justify = "left"
    return table


def _collectives(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table(
        "Collectives of the same",
        ["kind", "runs", "GiB, whole", "GiB sent", "overlapped", "%"],
    )
    for r in rows:
        share = 100 * r["overlapped"] / r["sent"] if r["sent"] else 0.0
        table.add_row(
            r["kind"],
            f"{r['count']:.0f}",
            f"{r['bytes'] / GIB:.2f}",
            f"{r['sent'] / GIB:.2f}",
            f"{r['overlapped'] / GIB:.2f}",
            f"{share:.0f}",
        )
    return table


def slowest_lines(plan: dict[str, Any]) -> list[str]:
    """The costliest instructions, a line each: what to look at first."""
    lines = ["Slowest instructions: ms a step, name, operation"]
    for taken, name, where in plan["time"]["slowest"]:
        lines.append(f"  {1e3 * taken:9.2f}  {name}  {where[-80:]}")
    return lines


def closing(plan: dict[str, Any]) -> list[str]:
    """Flops, speed, hours, versions, flags."""
    span = lambda pair, form: f"{format(pair[0], form)} to {format(pair[1], form)}"
    lines = []
    if "flops" in plan:
        flops, mfu = plan["flops"], plan["mfu"]
        parts = ", ".join(f"{p} {n / 1e12:.1f}" for p, n in flops["parts_per_chip"].items())
        lines.append(
            f"model work {flops['model_per_chip'] / 1e12:.1f} TFLOP a chip and step ({parts}); "
            f"{100 * mfu['compute']:.1f} % of the peak while computing, "
            f"{100 * mfu['step']:.1f} % of the whole step (estimates)"
        )
        lines.append(f"bound by {plan['bound']}")
    speed = plan["speed"]
    words = []
    if "tokens_per_s_chip" in speed:
        words.append(f"{span(speed['tokens_per_s_chip'], ',.0f')} tokens a second and chip")
    if "floor" in plan:
        floor = plan["floor"]
        words.append(f"{span(speed['tokens_per_s'], ',.0f')} tokens a second in all")
        lines.append(
            f"floors: {seconds(floor['memory'])} to read weights and cache once, "
            f"{seconds(floor['compute'])} for the model's operations at the peak"
        )
    if "samples_per_s" in speed:
        words.append(f"{span(speed['samples_per_s'], '.1f')} samples a second")
    lines += ["; ".join(words)] if words else []
    if "recipe" in plan and plan["recipe"]["samples"]:
        r = plan["recipe"]
        lines.append(
            f"recipe: {r['samples']:,} samples, {r['samples_a_row']} a row, {r['samples_a_step']} a "
            f"step, {r['steps']:,} steps: {span(r['hours'], '.2f')} hours, "
            f"{span(r['chip_hours'], ',.0f')} chip-hours"
        )
    if kernels := plan["time"]["kernels"]:
        named = ", ".join(f"{name} {n:.0f}" for name, n in kernels.items())
        lines.append(f"kernels a step: {named}")
    lines.append("; ".join(f"{k} {v}" for k, v in plan["versions"].items()))
    lines.append(f"compiler flags: {' '.join(f'{k}={v}' for k, v in plan['flags'].items())}")
    if own := plan.get("own_rows"):
        lines.append(
            f"the config's own rows: {own['rows']} a step of {own['positions']} positions, "
            f"{own['tiles']} tiles, {own['scored']} scored; {own['samples_a_row']} samples a row, "
            f"{own['samples_a_step']} a step"
            + ("; hours come from those alone" if plan["row"]["synthetic"] else "")
        )
    lines.append(f"compiled in {plan['compile_seconds']:.0f} s of processor time; {plan['label']}")
    return lines
