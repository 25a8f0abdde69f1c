"""The caption-quality study from scratch in the procedural world, on two CPU cores.

    sg4v study run --config=configs/study/small.py --out=runs/study --jobs=2
    sg4v study report --out=runs/study

Hours and figures: README.md here, and results/. The design is fixed before the run: README.md.
"""

from sg4v_jax.configs.study import base

from sg4v_jax.errors import ConfigError


def get_config(arg: str = ""):
    """`small.py:pilot` asks the development split, with seeds of its own, to fix the design.

    `small.py:pilot-0.5` does so at half of the learning rates of the arms.
    """
    c = base.base()
    kind, _, rate = arg.partition("-")
    if kind == "pilot":
        c.name, c.split, c.arm_rate = "small-pilot", "dev", float(rate or 1)
        c.rows = base.rows(unlocked=(101, 102), frozen=(101, 102), some=())
    elif arg:
        raise ConfigError(f"small: argument {arg!r} is unknown", mend="use pilot or pilot-RATE")
    return c
