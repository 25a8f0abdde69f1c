"""What setup.cfg cannot say: the wheel holds the top-level `configs/` as `sg4v_jax.configs`."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["sg4v_jax", "sg4v_jax.*"]),
        "sg4v_jax.configs",
        "sg4v_jax.configs.study",
    ],
    package_dir={"sg4v_jax.configs": "configs"},
)
