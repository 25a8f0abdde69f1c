"""What starts a run: a command that ends when the run does, with `sg4v train`'s exit codes."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Protocol

from sg4v_jax.errors import ConfigError
from sg4v_jax.sweep.expand import Run

_SCRIPT = pathlib.Path(__file__).parents[2] / "launch" / "tpu.sh"
VIA = ("slice", "xpk")
LONGEST = 40  # characters of a name on Google Cloud; what is made of it gets longer


class Launcher(Protocol):
    """Starts runs; `slot` is 0 .. jobs - 1, and no two runs have the same one at a time."""

    def command(self, run: Run, *, config: str, workdir: str, slot: int) -> list[str]:
        """The command of `run`; called again with the same arguments it goes on."""

    def finish(self, slots: int) -> None:
        """Gives back what the runs in slots 0 .. slots - 1 held."""


@dataclasses.dataclass(frozen=True)
class Local:
    """`sg4v train` on this machine; `program` is what runs `sg4v`."""

    program: Sequence[str] = (sys.executable, "-m", "sg4v_jax")

    def command(self, run: Run, *, config: str, workdir: str, slot: int) -> list[str]:
        """See `Launcher`."""
        flags = [f"--config={config}", f"--workdir={workdir}", *run.flags()]
        return [*self.program, "train", *flags]

    def finish(self, slots: int) -> None:
        """There is nothing to give back."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """`launch/tpu.sh watch`: slot k has slices of its own (NAME-k), which run after run uses.

    On XPK a run is a workload (NAME-RUN) of the one cluster, which queues them.

    Attributes:
      via: `slice` or `xpk`.
      settings: the settings file of launch/tpu.sh; its `name` is NAME.
      keep: leave the slices there when the sweep is done.
      script: launch/tpu.sh, of this checkout by default.

    Raises:
      ConfigError: another `via`, no `name` in the settings, or no checkout with launch/.
    """

    via: str
    settings: str
    keep: bool = False
    script: str = str(_SCRIPT)

    def __post_init__(self):
        if self.via not in VIA:
            raise ConfigError(f"launcher {self.via!r}", mend=f"use local, {' or '.join(VIA)}")
        if not pathlib.Path(self.script).is_file():
            raise ConfigError(
                f"no {self.script}", mend="slices are launched from a checkout: clone the project"
            )
        _ = self.name

    @property
    def name(self) -> str:
        """What names begin with."""
        try:
            lines = pathlib.Path(self.settings).read_text().splitlines()
        except OSError as e:
            raise ConfigError(
                f"--settings={self.settings}: {e.strerror}", mend="see launch/README.md"
            ) from e
        names = [line.partition("=")[2].strip() for line in lines if line.startswith("name=")]
        if not names or not names[-1]:
            raise ConfigError(f"{self.settings} has no name=", mend="add a line name=NAME")
        return names[-1]

    def command(self, run: Run, *, config: str, workdir: str, slot: int) -> list[str]:
        """See `Launcher`."""
        # Names on Google Cloud have no capitals, dots or underscores.
        own = "".join(c if c.isalnum() else "-" for c in run.name.lower()).strip("-")
        name = f"{self.name}-{own if self.via == 'xpk' else slot}"
        if len(name) > LONGEST:
            raise ConfigError(
                f"{name}: longer than {LONGEST} characters", mend="shorten name= or the run's name"
            )
        where = [f"--name={name}", f"--run={run.name}", f"--config={self._in_checkout(config)}"]
        return [*self._script("watch"), *where, f"--workdir={workdir}", "--", *run.flags()]

    def finish(self, slots: int) -> None:
        """Deletes the slices of all slots; an XPK cluster stays.

        Raises:
          ConfigError: one could not be deleted, so it costs.
        """
        if self.keep or self.via != "slice":
            return
        for slot in range(slots):
            name = f"{self.name}-{slot}"
            done = subprocess.run([*self._script("delete"), f"--name={name}", "--yes"], check=False)
            if done.returncode:
                raise ConfigError(
                    f"{name} could not be deleted, and costs", mend="see above; delete it by hand"
                )

    def _in_checkout(self, config: str) -> str:
        """`config` as the workers find it, who get what git tracks."""
        root = pathlib.Path(self.script).resolve().parents[1]
        path, colon, argument = config.partition(":")
        try:
            relative = pathlib.Path(path).resolve().relative_to(root)
        except ValueError as e:
            raise ConfigError(
                f"{path} lies outside of {root}", mend="put it into configs/ and `git add` it"
            ) from e
        return f"{relative}{colon}{argument}"

    def _script(self, verb: str) -> list[str]:
        return ["bash", self.script, verb, f"--via={self.via}", f"--settings={self.settings}"]
