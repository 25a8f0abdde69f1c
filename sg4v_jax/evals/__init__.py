"""Evaluation: benchmarks' questions, the answers of a model, and scores.

benchmarks.py                  the benchmarks by name; a room each: tempcompass, videobench, mvbench,
                               videochatgpt
protocol.py questions.py       how a benchmark asks, as data; questions as read from its files
predict.py answering.py        a model answers (these and runner.py load jax; nothing else does)
score.py scores.py judges.py   answers are scored
world_qa.py runner.py          the procedural world's questions
"""
