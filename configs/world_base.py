"""Pre-trains the small model that the package ships (`sg4v_jax/assets/world`), from random weights.

    sg4v world make --out=runs/world_base_data --videos=16000 --seed=11 --questions=7 \
        --mix=temporal:2,static:2,frame:3
    sg4v train --config=configs/world_base.py --workdir=runs/world_base

Two CPU cores: 3 minutes for the data, then about an hour. The scenes are of the train split, so
it sees no held-out combination of shape and colour and no test video.
"""

from sg4v_jax.configs import common


def get_config(arg: str = ""):
    c = common.base()
    c.model.preset = "sg4v-world"
    c.model.dtype = "float32"
    c.model.remat = "dots"
    c.data.annotations = ("runs/world_base_data/train.json",)
    c.data.tokenizer = "asset:world/tokenizer.json"
    c.data.template = "llama_3_bare"
    c.data.preamble = ""
    c.data.positions = 512
    c.data.tiles = 15
    c.data.scored = 160
    c.data.batch_rows = 8
    c.optim.steps = 3000
    c.optim.rules = (("tower", "tower"), (".*", "llm"))
    c.optim.groups = dict(
        tower=dict(learning_rate=1e-3, weight_decay=0.05),
        llm=dict(learning_rate=2e-3, weight_decay=0.05),
    )
    c.optim.b2 = 0.98
    c.optim.floor = 0.1
    c.run.log_every = 25
    c.run.save_every = 100
    return c
