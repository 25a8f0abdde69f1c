"""Who the processes of a run are: by flags, by environment, by the machine; and what is missing."""

from __future__ import annotations

import jax
import pytest

from sg4v_jax.errors import ConfigError
from sg4v_jax.train import distributed, metadata
from sg4v_jax.train.distributed import Place, by_hand, tpu_workers

WHOLE = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.2:8476",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "1",
}


def test_flags_or_environment_and_flags_first():
    assert by_hand(environ=WHOLE) == Place("10.0.0.2:8476", 4, 1)
    assert by_hand(process=3, environ=WHOLE).process == 3
    flags = dict(coordinator="host:1", processes=2, process=0)
    assert by_hand(**flags, environ={}) == Place("host:1", 2, 0)


def test_nothing_and_one_process_start_nothing(monkeypatch):
    assert by_hand(environ={}) is None
    assert by_hand(processes=1, environ={}) is None
    assert by_hand(environ={**WHOLE, "JAX_NUM_PROCESSES": "1"}) is None
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("touched"))
    distributed.start(None)


@pytest.mark.parametrize("missing", WHOLE)
def test_what_is_missing_is_named_as_flag_and_as_variable(missing):
    left = {k: v for k, v in WHOLE.items() if k != missing}
    with pytest.raises(ConfigError, match=f"not --.* {missing}") as error:
        by_hand(environ=left)
    assert all(v in error.value.message for v in left.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.2"}, "'10.0.0.2'"),
        ({"JAX_PROCESS_ID": "4"}, "process 4 of 4"),
        ({"JAX_PROCESS_ID": "-1"}, "'-1'"),
        ({"JAX_NUM_PROCESSES": "four"}, "'four'"),
        ({"JAX_NUM_PROCESSES": "0"}, "of 0"),
    ],
)
def test_values_that_mean_nothing(change, message):
    with pytest.raises(ConfigError, match=message):
        by_hand(environ=WHOLE | change)


def test_workers_of_a_slice_on_gke():
    tpu = lambda **environ: tpu_workers(environ, has_tpu=lambda: True, read=lambda url: None)
    assert tpu(TPU_WORKER_HOSTNAMES="a,b,c,d", TPU_WORKER_ID="2") == 4
    assert tpu(TPU_WORKER_HOSTNAMES="a") == 1
    assert tpu(TPU_WORKER_HOSTNAMES="a", MEGASCALE_NUM_SLICES="2") == 2
    assert tpu(TPU_PROCESS_ADDRESSES="a:1,b:1") == 2
    assert tpu() == 1


def test_workers_of_a_slice_by_the_metadata_server():
    asked = []

    def read(url):
        asked.append(url)
        return "w-0,w-1"

    assert tpu_workers({"GCE_METADATA_IP": "1.2.3.4"}, has_tpu=lambda: True, read=read) == 2
    assert asked == [
        "http://1.2.3.4/computeMetadata/v1/instance/attributes/worker-network-endpoints"
    ]
    assert tpu_workers({}, has_tpu=lambda: False, read=lambda url: pytest.fail("asked")) == 1


def test_chips_are_found_by_their_maker(tmp_path):
    assert not metadata.has_tpu({}, pci=str(tmp_path))
    (tmp_path / "0000:00:05.0").mkdir()
    (tmp_path / "0000:00:05.0" / "vendor").write_text("0x1ae0\n")
    assert metadata.has_tpu({}, pci=str(tmp_path))
    assert metadata.has_tpu({"JAX_PLATFORMS": "tpu,cpu"}, pci=str(tmp_path))
    assert not metadata.has_tpu({"JAX_PLATFORMS": "cpu"}, pci=str(tmp_path))


def test_those_that_did_not_come_are_named():
    said = """DEADLINE_EXCEEDED: Barrier timed out. Id: [Init]Wait_for_all_tasks_to_register::0.
# of tasks that reached the barrier: 2/4.
The first task at the barrier: 0. Some timed out task names:
1, 3
"""
    error = distributed.not_joined(said, place=None, seconds=300)
    assert error.message == "process 1, 3 did not come within 300 s"
    place = Place("10.0.0.2:8476", 2, 1)
    error = distributed.not_joined("DEADLINE_EXCEEDED: failed to connect", place=place, seconds=9)
    assert "the coordinator at 10.0.0.2:8476, does not answer within 9 s" in error.message


def test_a_slice_whose_place_jax_cannot_tell(monkeypatch):
    def initialize(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(distributed, "tpu_workers", lambda: 4)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    with pytest.raises(ConfigError, match="coordinator_address should be defined") as error:
        distributed.start(None)
    assert "--coordinator" in error.value.mend
