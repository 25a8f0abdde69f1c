"""The caption-quality study from scratch in the procedural world, on two CPU cores.

    sg4v study run --config=configs/study/small.py --out=runs/study --jobs=2
    sg4v study report --out=runs/study

Hours and figures: README.md here, and results/. The design is fixed before the run: README.md.
"""

from sg4v_jax.configs.study import base


def get_config(arg: str = ""):
    """`small:pilot` asks the development split, with other seeds: to fix the design."""
    c = base.base()
    if arg == "pilot":
        c.name, c.split = "small-pilot", "dev"
        c.rows = base.rows(unlocked=(101,), frozen=(101,), some=())
    return c
