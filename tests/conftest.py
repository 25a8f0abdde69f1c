"""What every test runs under: the CPU as eight devices, no network, clear skips."""

from __future__ import annotations

import importlib.util
import os

import pytest

# Before anything imports jax. Eight devices let one process test every mesh; a value that is set
# already wins, so that the same tests can be run on an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

_NEEDS = {"torch": "torch", "tpu_aot": "libtpu"}
_EXTRA = {"torch": "torch", "tpu_aot": "tpu"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs an extra that is not installed, and says which."""
    for marker, package in _NEEDS.items():
        if importlib.util.find_spec(package):
            continue
        reason = f"needs {package}: pip install -e '.[{_EXTRA[marker]}]' -c constraints.txt"
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
