"""The report of `bench loader` as tables."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def print_report(report: dict, *, console: Console, by_clip: bool = False) -> None:
    """Prints what `loader.measure` returned; with `by_clip` also a line for each clip."""
    for line in _heading(report):
        console.print(line, markup=False, highlight=False)
    console.print(_agreement(report))
    console.print(_speed(report))
    console.print(_cpu(report))
    console.print(_cores(report))
    console.print(_stages(report["stages"]))
    if by_clip:
        console.print(_clips(report["stages"]))
    console.print(_moves(report))


def _heading(report: dict) -> list[str]:
    machine, settings = report["machine"], report["settings"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v)
    processor = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_1_min']:.1f}"
    threads = ", ".join(f"{way} {n}" for way, n in settings["threads_a_worker"].items())
    rounds = f"{settings['rounds']} rounds of {settings['seconds']:g} s, methods in turn"
    lines = [
        f"{processor}; {machine['system']}",
        f"{versions}; commit {machine['commit'] or 'unknown'}",
        f"{rounds}; threads a worker: {threads}",
    ]
    if not settings["decord"]:
        lines.append(
            "decord is not installed: no comparison (pip install 'sg4v_jax[bench]' to have it)"
        )
    lines += [f"left out {item['clip']}: {item['reason']}" for item in report["left_out"]]
    return lines


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _agreement(report: dict) -> Table:
    table = _table(
        "Tiles, ours against the original's (0..255)", ["clip", "mean difference", "largest"]
    )
    for item in report["agreement"]:
        table.add_row(item["clip"], f"{item['mean_abs']:.4f}", f"{item['max_abs']:.0f}")
    return table


def _spread(value: dict | None, *, form: str) -> str:
    if value is None:
        return "-"
    low, high = format(value["low"], form), format(value["high"], form)
    return f"{format(value['median'], form)} ({low}..{high})"


def _speed(report: dict) -> Table:
    table = _table(
        "Grids a second: median (range) over the rounds; x: times as many",
        ["", "method", "grids/s", "x original", "x mp4"],
    )
    for entry in report["speed"]:
        table.add_row(
            str(entry["workers"]),
            entry["method"],
            _spread(entry["grids_per_s"], form=".1f"),
            _spread(entry.get("ratio"), form=".2f"),
            _spread(entry.get("mp4_ratio"), form=".2f"),
        )
    return table


def _cpu(report: dict) -> Table:
    table = _table(
        "CPU a grid, all processes: median (range) over the rounds; x: times as little",
        ["", "method", "ms", "x original", "x mp4"],
    )
    for entry in report["speed"]:
        table.add_row(
            str(entry["workers"]),
            entry["method"],
            _spread(entry.get("cpu_ms_per_grid"), form=".1f"),
            _spread(entry.get("cpu_ratio"), form=".2f"),
            _spread(entry.get("mp4_cpu_ratio"), form=".2f"),
        )
    return table


def _cores(report: dict) -> Table:
    step = report["step"]
    table = _table(
        f"Cores to feed a host that takes {step['grids']} grids every {step['seconds']:g} s "
        f"({step['grids'] / step['seconds']:.1f} grids/s)",
        ["method", *(f"{n} workers" for n in report["settings"]["workers"])],
    )
    cores: dict[str, dict[int, float]] = {}
    for entry in report["speed"]:
        cores.setdefault(entry["method"], {})[entry["workers"]] = entry.get("cores", float("nan"))
    for method, by_workers in cores.items():
        table.add_row(method, *(f"{value:.2f}" for value in by_workers.values()))
    return table


def _mean(clips: Sequence[dict], way: str, *, unit: str) -> dict[str, float]:
    """Stage -> ms a grid, the mean over clips; `unit` is `wall` or `cpu`."""
    names = dict.fromkeys(name for clip in clips for name in clip[way])
    return {
        n: sum(c[way][n][unit] if n in c[way] else 0 for c in clips) / len(clips) for n in names
    }


def _stages(clips: Sequence[dict]) -> Table:
    table = _table(
        "Where the time goes: one process, mean over clips, ms a grid",
        ["way", "stage", "wall", "CPU", "share of CPU"],
    )
    for way in ("ours", "original"):
        if way not in clips[0]:
            continue
        wall, cpu = (_mean(clips, way, unit=unit) for unit in ("wall", "cpu"))
        whole = sum(cpu.values())
        for name, value in sorted(cpu.items(), key=lambda item: -item[1]):
            table.add_row(way, name, f"{wall[name]:.2f}", f"{value:.2f}", f"{value / whole:.1%}")
        table.add_row(way, "all", f"{sum(wall.values()):.2f}", f"{whole:.2f}", "", end_section=True)
    return table


def _clips(clips: Sequence[dict]) -> Table:
    table = _table(
        "By clip: one process, CPU ms a grid, without moving it",
        ["clip", "ours", "original", "x"],
    )
    for clip in clips:
        ours, theirs = (
            sum(s["cpu"] for s in clip[way].values()) if way in clip else float("nan")
            for way in ("ours", "original")
        )
        name = os.path.basename(clip["clip"])
        table.add_row(name, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.2f}")
    return table


def _moves(report: dict) -> Table:
    device = report["to_device"]
    table = _table(
        f"Moving one grid (device: {device['device']})", ["what", "where", "ms", "CPU ms", "MB/s"]
    )
    for kind, cost in report["between_processes"].items():
        cpu = "-" if cost["cpu"] is None else f"{cost['cpu']:.2f}"
        table.add_row(kind, "from a worker", f"{cost['wall']:.2f}", cpu, "")
    for kind, rate in device["rates"].items():
        ms, speed = 1e3 / rate["grids_per_s"], f"{rate['mb_per_s']:.0f}"
        table.add_row(kind, "to the device", f"{ms:.2f}", "", speed)
    return table
