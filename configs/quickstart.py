"""The quickstart's training: some minutes on two CPU cores, from the base that the package ships.

    sg4v quickstart --out=runs/quickstart

makes the data, trains with this config, answers and reports. The training alone:

    sg4v world make --out=runs/world --videos=1500 --seed=21
    sg4v train --config=configs/quickstart.py --workdir=runs/my_model

Three rates with two seeds each, and one table of their losses (`sweep` below):

    sg4v sweep --config=configs/quickstart.py --out=runs/rates
"""

from sg4v_jax.configs import world_base


def get_config(arg: str = ""):
    c = world_base.get_config("look")
    c.model.init = "asset:world"
    c.data.annotations = ("runs/world/train.json",)
    c.data.tokenizer = ""
    c.optim.steps = 200
    for group in c.optim.groups.values():
        group.learning_rate /= 3
    c.optim.floor = 0.0
    c.run.log_every = 5
    c.run.save_every = 50
    return c


def sweep():
    """Overrides of six runs: all rates times 1/3, 1 and 3, with two seeds."""
    groups = get_config().optim.groups
    for factor in (1 / 3, 1.0, 3.0):
        rates = {name: dict(learning_rate=g.learning_rate * factor) for name, g in groups.items()}
        for seed in (0, 1):
            name = f"rate-x{factor:.2g}-seed-{seed}"
            yield {"name": name, "optim.groups": rates, "run.seed": seed}
