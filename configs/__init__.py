"""Run configs, one file a run; installed as `sg4v_jax.configs`."""
