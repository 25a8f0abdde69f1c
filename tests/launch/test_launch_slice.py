"""launch/tpu.sh with queued resources: exact commands, and messages that say what to do."""

from __future__ import annotations

import shlex
import tarfile

import pytest

QR = ["gcloud", "compute", "tpus", "queued-resources"]
PLACE = ["--zone=us-east5-a", "--project=my-project"]
ALL = ["--node=all", "--worker=all"]
GONE = {"match": "describe", "times": 1, "err": "NOT_FOUND: no\n", "code": 1}
ACTIVE = {"match": "describe", "out": "ACTIVE\n"}


def command_of(call: list[str]) -> str:
    [text] = [word.removeprefix("--command=") for word in call if word.startswith("--command=")]
    return text


def create_call(*more: str, accelerator="v5p-64", runtime="v2-alpha-tpuv5", node="--node-id=sft"):
    what = [f"--accelerator-type={accelerator}", f"--runtime-version={runtime}"]
    return [
        *QR,
        "create",
        "sft",
        *PLACE,
        *what,
        *node.split(),
        *more,
        "--labels=made-by=sg4v",
        "--async",
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], create_call("--spot")),
        (["--capacity=on_demand"], create_call()),
        (
            ["--capacity=reserved", "--accelerator=v5litepod-16"],
            create_call("--reserved", accelerator="v5litepod-16", runtime="v2-alpha-tpuv5-lite"),
        ),
        (
            ["--accelerator=v6e-256", "--slices=4", "--valid_for=12h"],
            create_call(
                *("--spot", "--valid-until-duration=12h"),
                accelerator="v6e-256",
                runtime="v2-alpha-tpuv6e",
                node="--node-count=4 --node-prefix=sft",
            ),
        ),
        (
            [
                "--runtime=my-runtime",
                "--iap",
                "--network=n",
                "--subnetwork=s",
                "--service_account=a@b",
            ],
            create_call(
                *("--spot", "--service-account=a@b", "--network=n", "--subnetwork=s"),
                "--internal-ips",
                runtime="my-runtime",
            ),
        ),
    ],
)
def test_create_asks_and_waits(cloud, flags, expected):
    waiting = [{"match": "describe", "times": 2, "out": "WAITING_FOR_RESOURCES\n"}]
    cloud.rules(GONE, *waiting, ACTIVE)
    done = cloud.run("create", *flags)
    assert done.returncode == 0, done.stderr
    assert cloud.calls(" create ") == [expected]
    assert cloud.verbs() == ["describe", "create", "describe", "describe", "describe"]
    describe = [*QR, "describe", "sft", *PLACE, "--format=value(state.state)"]
    assert cloud.calls("describe")[0] == describe
    assert "sft: WAITING_FOR_RESOURCES" in cloud.log.read_text()


def test_create_makes_nothing_twice(cloud):
    cloud.rules(ACTIVE)
    assert cloud.run("create").returncode == 0
    cloud.rules({"match": "describe", "times": 1, "out": "PROVISIONING\n"}, ACTIVE)
    assert cloud.run("create").returncode == 0
    assert not cloud.calls(" create ")
    cloud.rules({"match": "describe", "out": "SUSPENDED\n"})
    done = cloud.run("create")
    assert done.returncode == 1
    assert "sft is SUSPENDED\n  mend: delete it first" in done.stderr
    # The answer to a first try was lost: the second finds what the first had made.
    exists = {"match": " create ", "err": "ALREADY_EXISTS: it is there\n", "code": 1}
    cloud.rules(GONE, exists, ACTIVE)
    assert cloud.run("create").returncode == 0


def test_create_that_gets_no_capacity_takes_the_request_back(cloud):
    cloud.rules(GONE, {"match": "describe", "out": "WAITING_FOR_RESOURCES\n"})
    done = cloud.run("create", "--wait_seconds=0")
    assert done.returncode == 1
    assert "no capacity for v5p-64 (spot) in us-east5-a\n  mend: try another zone" in done.stderr
    assert cloud.calls(" delete ") == [
        [*QR, "delete", "sft", *PLACE, "--force", "--quiet", "--async"]
    ]


@pytest.mark.parametrize(
    ("said", "mend", "calls"),
    [
        ("PERMISSION_DENIED: no", "give the account the roles of launch/README.md", 1),
        ("Quota limit 'TPUV5sPreemptible' has been exceeded", "ask for quota", 1),
        ("RESOURCE_EXHAUSTED: no", "ask for quota", 1),
        ("You do not currently have an active account selected", "run: gcloud auth login", 1),
        ("INVALID_ARGUMENT: no", "check --zone, --accelerator and --runtime", 1),
        ("socket closed", "see the message above", 3),
    ],
)
def test_create_failures_say_what_to_do(cloud, said, mend, calls):
    cloud.rules(GONE, {"match": " create ", "err": f"ERROR: {said}\n", "code": 1})
    done = cloud.run("create")
    assert done.returncode == 1
    assert f"error: create failed with code 1\n  mend: {mend}" in done.stderr
    assert said in done.stderr, "the cloud's own words are shown"
    assert len(cloud.calls(" create ")) == calls


def test_an_accident_is_tried_again(cloud):
    cloud.rules(
        GONE, {"match": " create ", "times": 2, "err": "socket closed\n", "code": 1}, ACTIVE
    )
    done = cloud.run("create")
    assert done.returncode == 0, done.stderr
    assert len(cloud.calls(" create ")) == 3
    assert "failed with code 1; try 3 of 3" in done.stderr


def test_no_answer_in_time_is_tried_again_then_given_up(cloud):
    cloud.rules({"match": " ssh ", "sleep": 60})
    done = cloud.run("status", "--call_seconds=1", "--call_tries=2")
    assert done.returncode == 124
    assert len(cloud.calls(" ssh ")) == 2
    done = cloud.run("stop", "--call_seconds=1", "--call_tries=1")
    assert "no answer within 1 seconds, 1 times: try again, or raise --call_seconds" in done.stderr


def test_a_missing_command_is_named(cloud):
    (cloud.folder / "bin/xpk").unlink()
    done = cloud.run("run", "--via=xpk")
    assert done.returncode == 1
    assert 'xpk is not installed; see "Before the first run" in launch/README.md' in done.stderr


def test_install_sends_what_git_tracks_to_every_worker(cloud, repository):
    kept = cloud.folder / "kept.tgz"
    standin = cloud.folder / "bin/gcloud"
    keep = (
        f"import shutil\nif 'scp' in call: shutil.copy(call[5], {str(kept)!r})\nfor rule in rules:"
    )
    standin.write_text(standin.read_text().replace("for rule in rules:", keep, 1))
    done = cloud.run("install", "--iap")
    assert done.returncode == 0, done.stderr
    scp, ssh, last = cloud.calls()
    assert command_of(last) == "touch sg4v/.sg4v-ready"
    assert scp[:5] == [*QR, "scp"] and scp[5].endswith("/sg4v.tgz")
    assert scp[6:] == ["sft:sg4v.tgz", *PLACE, "--tunnel-through-iap", *ALL]
    assert ssh[:-1] == [*QR, "ssh", "sft", *PLACE, "--tunnel-through-iap", *ALL]
    assert command_of(ssh).endswith("worker.sh install tpu,gcs,tensorboard")
    with tarfile.open(kept) as archive:
        names = archive.getnames()
    assert {"configs/run.py", "launch/tpu/worker.sh"} <= set(names)
    assert not [name for name in names if name.endswith(".env")]


def test_install_fetches_inputs(cloud):
    assert cloud.run("install", "--inputs=gs://bucket/in puts").returncode == 0
    told = command_of(cloud.calls()[-1])
    assert told.endswith(" && touch sg4v/.sg4v-ready")
    assert shlex.split(told)[1:4] == ["sg4v/launch/tpu/worker.sh", "fetch", "gs://bucket/in puts"]
    assert "use gs://BUCKET/..." in cloud.run("install", "--inputs=data").stderr


def test_install_refuses_a_config_that_would_not_get_there(cloud, repository):
    (repository / "configs/mine.py").write_text("")
    done = cloud.run("install", "--config=configs/mine.py")
    (repository / "configs/mine.py").unlink()
    assert done.returncode == 1 and not cloud.calls()
    assert "not tracked by git" in done.stderr and "git add configs/mine.py" in done.stderr


def test_run_passes_words_as_they_are(cloud):
    words = ['--config.data.annotations=("my data/a.json",)', "--config.data.preamble=it's $HOME"]
    done = cloud.run("run", "--env=A=b c", "--config=configs/run.py:x", "--", *words)
    assert done.returncode == 0, done.stderr
    [call] = cloud.calls()
    assert call[:-1] == [*QR, "ssh", "sft", *PLACE, *ALL]
    assert shlex.split(command_of(call)) == [
        *("bash", "sg4v/launch/tpu/worker.sh", "run", "sft", "A=b c", "--", "train"),
        *("--config=configs/run.py:x", "--workdir=gs://bucket/runs/sft"),
        *words,
    ]


def test_run_that_fails_on_some_workers_is_stopped_on_all(cloud):
    cloud.rules({"match": "worker.sh run", "err": "worker 3: Connection refused\n", "code": 1})
    done = cloud.run("run")
    assert done.returncode == 1
    assert "starting sft failed with code 1\n  mend: the workers cannot be reached" in done.stderr
    assert cloud.verbs() == ["run", "run", "run", "stop"]


def test_logs_status_stop_and_export(cloud):
    for words in (
        ["status"],
        ["logs", "--worker=2", "--lines=7", "--follow"],
        ["stop"],
        ["export"],
    ):
        done = cloud.run(*words)
        assert done.returncode == 0, done.stderr
    worker = "bash sg4v/launch/tpu/worker.sh "
    assert [command_of(call) for call in cloud.calls()] == [
        f"{worker}status sft",
        f"{worker}log sft 7 follow",
        f"{worker}stop sft",
        f"{worker}export gs://bucket/runs/sft gs://bucket/models/sft hf",
    ]
    assert [call[8:10] for call in cloud.calls()] == [
        ALL,
        ["--node=0", "--worker=2"],
        ALL,
        ["--node=0", "--worker=0"],
    ]


def test_delete_wants_to_be_asked_for(cloud):
    done = cloud.run("delete")
    assert done.returncode == 1 and not cloud.calls()
    assert (
        "delete sft in us-east5-a with all that is on its disks: not done without --yes"
        in done.stderr
    )
    assert cloud.run("delete", "--yes").returncode == 0
    assert cloud.calls() == [[*QR, "delete", "sft", *PLACE, "--force", "--quiet"]]
    cloud.rules({"match": "delete", "err": "NOT_FOUND: no\n", "code": 1})
    assert cloud.run("delete", "--yes").returncode == 0, "what is gone is gone"
    cloud.rules({"match": "delete", "err": "PERMISSION_DENIED: no\n", "code": 1})
    done = cloud.run("delete", "--yes")
    assert done.returncode == 1 and "until it is gone it costs" in done.stderr


def test_secrets_go_by_file_alone(cloud):
    secret = cloud.folder / "secret.env"
    secret.write_text("HF_TOKEN=hunter2\n")
    done = cloud.run("run", "--env=HF_TOKEN=hunter2")
    assert done.returncode == 1 and "put secrets into --env_file" in done.stderr
    assert "hunter2" not in done.stderr
    cloud.rules(GONE, ACTIVE)
    outputs = []
    for verb in ("install", "run", "create"):
        done = cloud.run(verb, f"--env_file={secret}")
        assert done.returncode == 0, done.stderr
        outputs += [done.stdout, done.stderr]
    calls = cloud.calls()
    assert command_of(calls[1]) == "umask 077 && rm -f sg4v-env && touch sg4v-env"
    assert calls[2][5:7] == [str(secret), "sft:sg4v-env"]
    assert "hunter2" not in "".join(outputs) + str(calls) + cloud.log.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fly"], "unknown verb fly; use one of: create install run"),
        (["create", "--zome=a"], "--zome=a: no such setting; known are:"),
        (["create", "--zone"], "--zone needs a value: --zone=VALUE"),
        (["create", "zone"], "unknown argument zone"),
        (["create", "--name="], "create needs --name"),
        (["create", "--name=My_Slice"], "--name=My_Slice: use a-z"),
        (["create", "--accelerator=v5p-63"], "no such size"),
        (["create", "--accelerator=h100-8"], "use v5litepod-N, v5p-N or v6e-N"),
        (["create", "--capacity=cheap"], "use spot, on_demand or reserved"),
        (["create", "--poll=often"], "--poll=often: use a number"),
        (["run", "--workdir=runs/x"], "workers share no disk"),
        (["run", "--config=configs/no.py"], "no such file in"),
        (["run", "--env=A"], "use NAME=VALUE"),
        (["run", "--env_file=/no"], "--env_file=/no: no such file"),
        (["render"], "--via=slice has no manifest"),
        (["run", "--via=slurm"], "use slice, xpk or jobset"),
    ],
)
def test_mistakes_are_named(cloud, words, said):
    done = cloud.run(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert not cloud.calls()


def test_a_bad_line_of_the_settings_is_named(cloud):
    (cloud.folder / "settings.env").write_text("name=a\nzone us-east5-a\n")
    assert "settings.env: line 2: no name=value" in cloud.run("status").stderr
    (cloud.folder / "settings.env").write_text("name=a\nzome=b\n")
    assert "settings.env: line 2: zome: no such setting" in cloud.run("status").stderr
    (cloud.folder / "settings.env").write_text("name=$(touch /tmp/x)\n")
    assert (
        "--name=$(touch /tmp/x)"
        in cloud.run("status", "--project=p", "--zone=z", "--workdir=w").stderr
    )


def test_help(cloud):
    for word in ("help", "--help", "-h"):
        done = cloud.run(word)
        assert done.returncode == 0 and "launch/tpu.sh VERB" in done.stdout
