"""Plans: the real step, or the engine's, compiled for a TPU slice that is not there.

topology.py     slices by name, their devices, their links
case.py         a config on a slice, with mesh, batch, recomputation and flags
compiler.py     compiles; what came out, or why it does not fit
hlo.py          reads the optimized program; collectives.py, attention.py find their parts in it
estimate.py     seconds: computation, kernels, communication
training.py     the plan of a training step; generation.py of prefill and decode
flops.py        operations by formula; memory.py bytes by part; recipe.py hours
search.py       ranks ways to run a config; table.py the table of the recipes
reading.py      programs compiled elsewhere; maxtext.py keeps MaxText's
show.py         a plan as tables
"""
