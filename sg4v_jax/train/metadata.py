"""The metadata server of a cloud machine: plain text by HTTP, there only on such machines.

https://docs.cloud.google.com/compute/docs/metadata/querying-metadata
"""

from __future__ import annotations

import os
import pathlib
import urllib.error
import urllib.request
from collections.abc import Mapping

GOOGLE = "0x1ae0"  # the PCI vendor of TPU chips


def server(environ: Mapping[str, str] = os.environ) -> str:
    """The server's address; GCE_METADATA_IP names another, as it does for jax."""
    host = environ.get("GCE_METADATA_IP", "metadata.google.internal")
    return f"http://{host}/computeMetadata/v1/instance"


def read(url: str, *, seconds: float = 2.0) -> str | None:
    """The text at `url`; None where nobody answers, or says that there is no such entry."""
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    # Never through a proxy: the server is on this machine's own link.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.read(65536).decode("utf-8", "replace").strip()
    except (OSError, ValueError):  # a URLError is an OSError
        return None


def has_tpu(environ: Mapping[str, str] = os.environ, *, pci: str = "/sys/bus/pci/devices") -> bool:
    """Whether this machine has TPU chips that jax may use."""
    platforms = environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False
    vendors = pathlib.Path(pci).glob("*/vendor")
    return any(v.read_text().strip() == GOOGLE for v in vendors)
