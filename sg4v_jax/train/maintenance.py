"""Notices that a cloud machine will be taken away, polled from its metadata server.

`instance/maintenance-event` is NONE until a minute or more before a maintenance event;
`instance/preempted` is FALSE until a spot machine is being taken away.
https://docs.cloud.google.com/compute/docs/metadata/getting-live-migration-notice
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sg4v_jax.train import metadata

AUTO = "auto"
INTERVAL = 5.0
CALM = {"maintenance-event": "NONE", "preempted": "FALSE"}


def watch(
    url: str,
    *,
    on_notice: Callable[[str], None],
    interval: float = INTERVAL,
    read: Callable[[str], str | None] = metadata.read,
    has_tpu: Callable[[], bool] = metadata.has_tpu,
) -> Callable[[], None]:
    """Calls `on_notice` once, from a thread, when a notice comes; gives a function that ends it.

    Args:
      url: the address above `maintenance-event`; `auto` is this machine's own where it has TPU
        chips, and nothing elsewhere; empty never asks.
      on_notice: is told which notice.

    Where nobody answers the first time, nothing is watched.
    """
    over = threading.Event()
    if url == AUTO:
        url = metadata.server() if has_tpu() else ""
    if url:
        where = url.rstrip("/")
        thread = threading.Thread(
            target=_poll, args=(where, on_notice, interval, read, over), daemon=True
        )
        thread.start()
    return over.set


def notice(url: str, *, read: Callable[[str], str | None]) -> str | None:
    """The notice at `url`; "" where there is none, None where nobody answers.

    >>> notice("http://x", read={"http://x/maintenance-event": "NONE"}.get)
    ''
    """
    answers = {name: read(f"{url}/{name}") for name in CALM}
    if not any(answers.values()):
        return None
    bad = [f"{k} {v}" for k, v in answers.items() if v and v.upper() != CALM[k]]
    return ", ".join(bad)


def _poll(url, on_notice, interval, read, over) -> None:
    said = notice(url, read=read)
    if said is None:
        return
    while not said and not over.wait(interval):
        said = notice(url, read=read)
    if said and not over.is_set():
        on_notice(said)
