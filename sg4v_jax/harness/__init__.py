"""Plug-in for lmms-eval (extra `[lmms-eval]`): our models in it, and our protocols as its tasks.

plugin.py     what the entry point `lmms_eval.models` names: the models `sg4v` and `sg4v_chat`
model.py      the model classes
requests.py   what lmms-eval asks -> requests of our engine
tasks.py      the functions that the task files name
lmms_tasks/   task files: `lmms_eval --include_path "$(sg4v eval lmms_tasks)"`

Only `plugin`, `model` and `tasks` import lmms_eval or datasets, and only when lmms-eval calls them.
"""
