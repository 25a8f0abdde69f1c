"""Several processes as several hosts: gloo between them, two CPU devices each."""

from __future__ import annotations

import dataclasses
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

WORKER = str(pathlib.Path(__file__).with_name("worker.py"))
ERROR_TAIL = 3000


@dataclasses.dataclass
class Pod:
    """Processes of one run, and where each writes what it says."""

    processes: list[subprocess.Popen]
    logs: list[pathlib.Path]

    def wait(self, seconds: float = 400) -> list[int]:
        """Exit codes; all are killed if they take too long."""
        end = time.monotonic() + seconds
        try:
            return [p.wait(max(0.1, end - time.monotonic())) for p in self.processes]
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to those that are left, stopped ones too."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def signal(self, number: int, *, to: int) -> None:
        """Sends a signal to one of them."""
        self.processes[to].send_signal(number)

    def said(self, k: int) -> str:
        """All that process `k` printed."""
        return self.logs[k].read_text(errors="replace")

    def tails(self) -> str:
        """The ends of all logs, for a failed assertion."""
        return "\n".join(f"--- {k}\n{self.said(k)[-ERROR_TAIL:]}" for k in range(len(self.logs)))


@dataclasses.dataclass
class Pods:
    """Starts pods on the tiny config and ends them with the test."""

    tiny: object
    started: list[Pod] = dataclasses.field(default_factory=list)

    def start(
        self,
        *words,
        logs: pathlib.Path,
        processes: int = 4,
        devices: int = 2,
        program: tuple[str, ...] = ("-m", "sg4v_jax"),
        only: tuple[int, ...] = (),
    ) -> Pod:
        """`sg4v WORDS` in each of `processes`, on `devices` CPU devices each; `only` some of them."""
        logs.mkdir(parents=True, exist_ok=True)
        env = self.tiny.environment()
        env["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
        pod = Pod([], [])
        self.started.append(pod)
        port = free_port()
        for k in only or range(processes):
            place = ()
            if processes > 1:
                place = (f"--coordinator=127.0.0.1:{port}", f"--processes={processes}")
                place = (*place, f"--process={k}")
            pod.logs.append(logs / f"{k}.log")
            with pod.logs[-1].open("w") as log:
                pod.processes.append(
                    subprocess.Popen(
                        [sys.executable, *program, *map(str, words), *place],
                        cwd=self.tiny.folder,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        return pod

    def worker(self, workdir: pathlib.Path, *words, processes: int = 4, **more) -> Pod:
        """`worker.py` in each of `processes`, on eight devices in all."""
        logs = workdir / f"logs{len(list(workdir.glob('logs*')))}"
        return self.start(
            f"--workdir={workdir}",
            *words,
            logs=logs,
            processes=processes,
            devices=8 // processes,
            program=(WORKER,),
            **more,
        )

    @staticmethod
    def until(what: Callable[[], object], *, seconds: float = 200) -> None:
        """Waits for `what()` to become true; a test that would hang fails."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it did not come to this"
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends what is left of all."""
        for pod in self.started:
            pod.kill()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def pods(tiny):
    made = Pods(tiny)
    yield made
    made.kill()


@pytest.fixture(scope="session")
def whole(tiny, tmp_path_factory) -> pathlib.Path:
    """Where `worker.py`, alone and never interrupted, skipped step 7 and came to step 30."""
    made, workdir = Pods(tiny), tmp_path_factory.mktemp("whole")
    pod = made.worker(workdir, "--nan_at=7", processes=1)
    assert pod.wait() == [0], pod.tails()
    return workdir
