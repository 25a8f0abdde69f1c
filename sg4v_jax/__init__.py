"""sg4v_jax: the ShareGPT4Video system in JAX (see README.md; rooms in CONTRIBUTING.md)."""

__version__ = "0.1.0"
