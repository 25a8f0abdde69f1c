"""A gcloud whose slice is a folder: one worker, on which commands really run.

$STANDIN/state is the queued resource's state; $STANDIN/worker the home of its worker, which a new
slice does not have yet and a deleted one takes along.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

folder = pathlib.Path(os.environ["STANDIN"])
state, home = folder / "state", folder / "worker"
verb, words = sys.argv[4], sys.argv[5:]
with open(folder / "verbs", "a") as f:
    f.write(f"{verb}\n")
if verb == "create":
    state.write_text("ACTIVE")
    home.mkdir()
elif not state.exists():
    sys.exit("ERROR: NOT_FOUND: no such queued resource")
elif verb == "describe":
    print(state.read_text())
elif verb == "delete":
    for pid in home.glob("sg4v-runs/*/pid"):
        try:
            os.killpg(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass
    shutil.rmtree(home)
    state.unlink()
elif verb == "scp":
    shutil.copyfile(words[0], home / words[1].partition(":")[2])
elif verb == "ssh":
    [command] = [w.removeprefix("--command=") for w in words if w.startswith("--command=")]
    env = os.environ | {"HOME": str(home)}
    done = subprocess.run(
        ["bash", "-c", command], check=False, cwd=home, env=env, stdin=subprocess.DEVNULL
    )
    sys.exit(done.returncode)
