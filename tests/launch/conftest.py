"""A small checkout with launch/, and stand-ins for the cloud's commands."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STANDIN = pathlib.Path(__file__).with_name("standin.py")
COMMANDS = ("gcloud", "kubectl", "xpk", "docker")
SETTINGS = """# comment
name=sft
project=my-project
zone=us-east5-a
accelerator=v5p-64

config=configs/run.py
workdir=gs://bucket/runs/sft
export=gs://bucket/models/sft
cluster=tpus
image=host/r/sg4v:1
poll=0
backoff=0
"""
NOT_FOUND = dict(err="ERROR: NOT_FOUND: no such queued resource\n", code=1)


@dataclasses.dataclass
class Cloud:
    """launch/tpu.sh of a checkout whose path has a space, between stand-ins."""

    folder: pathlib.Path

    @property
    def checkout(self) -> pathlib.Path:
        return self.folder / "check out"

    @property
    def log(self) -> pathlib.Path:
        return self.folder / "launch.log"

    def rules(self, *rules: dict) -> None:
        """What the stand-ins do, the first that fits; without a rule they say nothing, well."""
        (self.folder / "rules.json").write_text(json.dumps(rules))

    def states(self, *states: str | dict, then: str | None = None) -> list[dict]:
        """Rules: what each `describe` finds, in turn; then the last one for ever."""
        rules = [s if isinstance(s, dict) else {"out": f"{s}\n"} for s in states]
        rules = [{"match": "describe", "times": 1, **rule} for rule in rules]
        return [*rules, {"match": "describe", "out": f"{then or states[-1]}\n"}]

    def workers(self, *said: str, hosts: int = 8) -> list[dict]:
        """Rules: what all workers answer when they are asked how they are, in turn."""
        return [
            {
                "match": "worker.sh status",
                "times": 1,
                "out": "".join(f"sg4v-status w-{n} {text}\n" for n in range(hosts)),
            }
            for text in said
        ]

    def command(self, verb: str, *words: str) -> list[str]:
        settings = [f"--settings={self.folder}/settings.env", f"--log={self.log}"]
        before, after = (words, ()) if "--" not in words else _split(words)
        return ["bash", str(self.checkout / "launch/tpu.sh"), verb, *settings, *before, *after]

    def environment(self) -> dict[str, str]:
        path = f"{self.folder}/bin{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "STANDIN": str(self.folder), "HOME": str(self.folder)}

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(verb, *words),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def interrupt(self, verb: str, *words: str, at: str, number: int = signal.SIGINT) -> tuple:
        """Runs it, interrupts it once a call holds `at`, as a terminal would; (code, stderr)."""
        process = subprocess.Popen(
            self.command(verb, *words),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while not any(at in " ".join(call) for call in self.calls()):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
        return process.returncode, said

    def calls(self, part: str = "") -> list[list[str]]:
        """The calls so far; those that hold `part`."""
        file = self.folder / "calls.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [row for row in rows if part in " ".join(row)]

    def verbs(self) -> list[str]:
        """The calls in short: the verb of gcloud, or what a worker is told to do."""
        found = []
        for call in self.calls():
            told = next((w for w in call if w.startswith("--command=")), "")
            if "worker.sh" in told:
                found.append(told.split("worker.sh ")[-1].split()[0])
            else:
                found.append(next(w for w in call[1:] if w not in _GROUPS))
        return found


_GROUPS = ("compute", "tpus", "queued-resources", "container", "clusters", "node-pools")


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    at = words.index("--")
    return words[:at], words[at:]


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("repository") / "check out"
    shutil.copytree(ROOT / "launch", folder / "launch")
    (folder / "configs").mkdir()
    (folder / "configs/run.py").write_text("def get_config(arg=''): ...\n")
    (folder / ".gitignore").write_text("runs/\n*.env\n")
    (folder / "secret.env").write_text("HF_TOKEN=hunter2\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return folder


@pytest.fixture
def cloud(repository, tmp_path) -> Cloud:
    (tmp_path / "check out").symlink_to(repository)
    (tmp_path / "settings.env").write_text(SETTINGS)
    (tmp_path / "bin").mkdir()
    for name in COMMANDS:
        script = tmp_path / "bin" / name
        script.write_text(f"#!{sys.executable} -ES\n" + STANDIN.read_text())
        script.chmod(0o755)
    made = Cloud(tmp_path)
    made.rules()
    return made
