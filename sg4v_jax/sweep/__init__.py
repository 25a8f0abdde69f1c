"""Many runs of one config: from its `sweep()` to one table of results.

expand.py     the runs that a config's `sweep()` names, checked against its `get_config`
launchers.py  what starts a run: this machine, slices, or XPK through launch/
work.py       brings one run to its end, however often it is stopped, and reads its results
table.py      the results as JSON, CSV, Markdown and on the console
runner.py     `run`: all of them through a job of `jobs/`; `states` tells how far it is

    runs = [Run("low", {"optim.groups.llm.learning_rate": 1e-4}), Run("high", {...})]
    done = run(runs, config="configs/quickstart.py", out="runs/rates", jobs=2)
    done.rows[0]["metrics"]["loss"]
"""

from sg4v_jax.sweep.expand import Run, expand
from sg4v_jax.sweep.launchers import Launch, Launcher, Local
from sg4v_jax.sweep.runner import Finished, run, states

__all__ = ["Finished", "Launch", "Launcher", "Local", "Run", "expand", "run", "states"]
