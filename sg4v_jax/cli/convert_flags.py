"""Flags that several `sg4v convert` verbs share, and the progress line of long copies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from absl import flags
from rich import progress

DIFFERS = 1  # exit code: not the same, or not whole

flags.disclaim_key_flags()  # the flags below belong to the verb that defines them by `define`


def define() -> None:
    """Defines the flags that say where a model comes from."""
    flags.DEFINE_string("base", None, "the model that an adapter (LoRA) belongs to")
    flags.DEFINE_string("tower", None, "CLIP folder or hub id, where there is no tower")
    flags.DEFINE_integer("fresh_projector", None, "seed of a new projector, where there is none")
    flags.DEFINE_string("preset", None, "model whose settings join the parts, e.g. mini")
    flags.DEFINE_string("projector", None, "file of the projector, where it is apart")
    flags.DEFINE_string("tokenizer", None, "tokenizer file or folder, where there is none")
    flags.DEFINE_string("revision", None, "commit, tag or branch of hub ids")
    flags.DEFINE_multi_string("set", [], "KEY=VALUE of a setting that no file says; repeatable")


def request(source: str):
    """What these flags say about `source`."""
    from sg4v_jax.weights import assemble, facts

    values = flags.FLAGS
    return assemble.Request(
        source=source,
        base=values.base,
        tower=values.tower,
        projector=values.projector,
        tokenizer=values.tokenizer,
        given=facts.parse(values.set),
        revision=values.revision,
        fresh_projector=values.fresh_projector,
        preset=values.preset,
    )


@contextlib.contextmanager
def bytes_bar(what: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal; gives the function that takes the bytes done."""
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
