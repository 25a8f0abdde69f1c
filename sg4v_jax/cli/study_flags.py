"""What the verbs of `sg4v study` read alike."""

from collections.abc import Sequence

from sg4v_jax.errors import ConfigError


def chosen_seeds(values: Sequence[str]) -> list[int]:
    """The numbers of `--seeds`.

    Raises:
      ConfigError: one is no number.
    """
    if bad := [s for s in values if not s.isdecimal()]:
        raise ConfigError(f"--seeds: {bad[0]!r} is no number", mend="write --seeds=1,2")
    return [int(s) for s in values]
