"""sg4v train --config=FILE --workdir=DIR [--config.FIELD=VALUE ...]

Trains by a config file, or goes on with the run that DIR holds: the same command resumes exactly
where the last checkpoint stands. SIGTERM and Ctrl-C save and stop (exit code 3). DIR is then a model
directory for `sg4v chat --model=DIR`.

Many hosts: the same command on each, with a DIR that all of them see. On a TPU slice (TPU VM or
GKE) they find each other; elsewhere say --coordinator=HOST:PORT --processes=N --process=K, or set
JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID. Where one of them is lost the others
end with exit code 4; started again, on as many hosts or fewer, all go on from the last checkpoint.
--goodput says where the seconds of the run in DIR went, and trains nothing.
"""

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from sg4v_jax.cli.exit_codes import BAD_INPUT, HOST_LOST, INTERRUPTED, STOPPED
from sg4v_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where checkpoints and logs go")
_GOODPUT = flags.DEFINE_bool("goodput", False, "only say where the time of the run went")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several")
_PROCESSES = flags.DEFINE_integer("processes", None, "how many processes train together")
_PROCESS = flags.DEFINE_integer("process", None, "which of them this is, from 0")


def main(argv: list[str]) -> int:
    if _GOODPUT.value and _WORKDIR.value:
        from sg4v_jax.train import goodput

        goodput.show(_WORKDIR.value, console=Console())
        return 0
    if _CONFIG.value is None or not _WORKDIR.value:
        raise ConfigError("train needs --config and --workdir", mend="see `sg4v train --help`")
    from sg4v_jax.cli.runtime import start_jax
    from sg4v_jax.train import distributed, goodput, heartbeat, hosts

    clock, run = goodput.Clock(), _CONFIG.value.run
    start_jax(compile_cache=run.compile_cache)
    place = distributed.by_hand(
        coordinator=_COORDINATOR.value, processes=_PROCESSES.value, process=_PROCESS.value
    )
    try:
        distributed.start(place, host_timeout=run.host_timeout, lost_code=HOST_LOST)
    except hosts.HostLostError as e:
        Console(stderr=True).print(f"error: {e}", style="red", markup=False, soft_wrap=True)
        return HOST_LOST
    from sg4v_jax.tasks import video_sft

    all_hosts = hosts.of_this_run()
    console = Console(quiet=not all_hosts.primary)
    codes = heartbeat.Codes(lost=HOST_LOST, error=BAD_INPUT, bug=1, interrupted=INTERRUPTED)
    beat = heartbeat.Heartbeat(
        all_hosts, clock=clock, timeout=run.host_timeout, hang=run.hang_timeout, codes=codes
    )
    with heartbeat.together(all_hosts, beat, codes=codes):
        outcome = video_sft.train(
            _CONFIG.value, folder=_WORKDIR.value, console=console, clock=clock
        )
    if not outcome.finished:
        console.print(f"saved at step {int(outcome.state.step)}; the same command goes on")
        return STOPPED
    console.print(f"done; try: sg4v chat --model={_WORKDIR.value} --video=FILE", markup=False)
    return 0
