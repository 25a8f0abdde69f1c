"""sg4v eval lmms_tasks [--list]

Prints the folder of our task files for lmms-eval, for its --include_path; with --list the tasks.
Set-up and use: launch/lmms_eval.sh.
"""

from absl import flags

_LIST = flags.DEFINE_bool("list", False, "print the names of tasks and groups instead")


def main(argv: list[str]) -> int:
    from sg4v_jax.harness.plugin import TASKS

    if _LIST.value:
        for path in sorted(TASKS.rglob("*.yaml")):
            print(path.stem)
    else:
        print(TASKS)
    return 0
