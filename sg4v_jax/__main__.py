"""`python -m sg4v_jax` is the command `sg4v`."""

from sg4v_jax.cli.main import entry

if __name__ == "__main__":
    entry()
