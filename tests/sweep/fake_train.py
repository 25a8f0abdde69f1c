"""A stand-in for `sg4v train` that takes no time: the same flags, files and exit codes.

It makes six steps and saves after every second. $FAKE_PLAN, a folder, may hold a file NAME with a
line for each start of run NAME: `kill N` dies at step N, `stop N` saves and stops there, `fail` is
bad input, `crash` a bug, `hang N` waits at step N for SIGTERM, `slow` takes 0.1 s a step. Without
a line left it goes well. NAME.starts has a line for each start.
"""

import json
import os
import pathlib
import signal
import sys
import time

STEPS = 6
flags = dict(word[2:].split("=", 1) for word in sys.argv[2:])
workdir = pathlib.Path(flags["workdir"])
rate, seed = float(flags.get("config.optim.eps", 1)), int(flags.get("config.run.seed", 0))
plan = pathlib.Path(os.environ["FAKE_PLAN"])
starts = plan / f"{workdir.name}.starts"
with open(starts, "a") as f:
    f.write(f"{os.getpid()}\n")
lines = plan / workdir.name
todo = lines.read_text().splitlines() if lines.exists() else []
number = len(starts.read_text().splitlines()) - 1
what, _, at = (todo[number] if number < len(todo) else "").partition(" ")
if what == "fail":
    print("error: data.annotations: no file\n  mend: make it", file=sys.stderr)
    sys.exit(2)
if what == "crash":
    raise RuntimeError("a bug")

checkpoints = workdir / "checkpoints"
checkpoints.mkdir(parents=True, exist_ok=True)
done = max((int(p.name) for p in checkpoints.iterdir()), default=0)
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
log = workdir / "metrics.jsonl"
rows = log.read_text().splitlines()[:done] if log.exists() else []
log.write_text("".join(row + "\n" for row in rows))
for step in range(done + 1, STEPS + 1):
    if what == "kill" and step == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    while what == "hang" and step == int(at) and not asked:
        time.sleep(0.01)
    if what == "slow":
        time.sleep(0.1)
    with open(log, "a") as f:
        row = {"step": step, "loss": rate / step + seed, "seconds": time.time()}
        f.write(json.dumps(row) + "\n")
    stopping = asked or (what == "stop" and step == int(at))
    if step % 2 == 0 or stopping:
        (checkpoints / str(step)).mkdir(exist_ok=True)
    if stopping and step < STEPS:
        sys.exit(3)
