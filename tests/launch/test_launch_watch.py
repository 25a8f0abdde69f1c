"""`watch` and `life`: preempted slices come back and the run resumes; nothing is left half done."""

from __future__ import annotations

import signal

import pytest

GONE = {"err": "NOT_FOUND: no\n", "code": 1}
START = [
    "delete",
    "describe",
    "create",
    "describe",
    "scp",
    "install",
    "ssh",
    "run",
]  # after a preemption


def test_preempted_slices_are_made_again_and_the_run_resumes_once(cloud):
    states = cloud.states("ACTIVE", "ACTIVE", "SUSPENDED", GONE, then="ACTIVE")
    cloud.rules(*states, *cloud.workers("running 7", "running 7", "running 9", "done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    verbs = [verb for verb in cloud.verbs() if verb != "status"]
    assert verbs == ["describe", "describe", "describe", *START, "describe", "describe"]
    create, run = cloud.calls(" create ")[0], cloud.calls("worker.sh run")[0]
    assert "--spot" in create
    assert "--workdir=gs://bucket/runs/sft" in run[-1], "it goes on from the bucket"
    said = cloud.log.read_text()
    assert "sft is SUSPENDED: try 1 of 10" in said and said.endswith("sft is done\n")


def test_watch_begins_with_nothing(cloud):
    cloud.rules(*cloud.states(GONE, GONE, then="ACTIVE"), *cloud.workers("running 7", "done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    verbs = ["describe", *START[1:], "describe", "status", "describe", "status"]
    assert cloud.verbs() == verbs


def test_bare_workers_are_installed_and_idle_ones_only_started(cloud):
    told = cloud.workers("bare", "none", "done 0")
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *told)
    assert cloud.run("watch").returncode == 0
    verbs = [verb for verb in cloud.verbs() if verb != "describe"]
    assert verbs == ["status", "scp", "install", "ssh", "run", "status", "run", "status"]


@pytest.mark.parametrize("said", ["done 1", "done 137", "done 3", "lost"])
def test_a_run_that_ends_early_is_started_again_on_all_workers(cloud, said):
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *cloud.workers(said, "done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    verbs = [verb for verb in cloud.verbs() if verb != "describe"]
    assert verbs == ["status", "stop", "run", "status"]


def test_one_worker_that_died_ends_the_wait_of_the_others(cloud):
    half = cloud.workers("running 7")
    half[0]["out"] = half[0]["out"].replace("w-3 running 7", "w-3 done 137")
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *half, *cloud.workers("done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    assert "sft ended with code 137: try 1 of 10" in cloud.log.read_text()
    assert len(cloud.calls("worker.sh stop")) == len(cloud.calls("worker.sh run")) == 1


def test_bad_input_is_not_tried_again(cloud):
    log = {"match": "worker.sh log", "out": "error: data.annotations: no file\n"}
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, log, *cloud.workers("done 2"))
    done = cloud.run("watch")
    assert done.returncode == 2
    assert "error: data.annotations: no file" in done.stderr
    assert "mend the config or the data" in done.stderr
    assert not cloud.calls("worker.sh run")


def test_it_gives_up_after_so_many_tries(cloud):
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *cloud.workers(*["done 1"] * 9))
    done = cloud.run("watch", "--tries=2")
    assert done.returncode == 1
    assert "gave up on sft after 2 tries: sft ended with code 1" in done.stderr
    assert "launch/tpu.sh delete ends the cost" in done.stderr
    assert len(cloud.calls("worker.sh run")) == 2


def test_no_use_in_trying_again(cloud):
    denied = {"match": " create ", "err": "PERMISSION_DENIED: no\n", "code": 1}
    cloud.rules(*cloud.states(GONE, GONE, GONE), denied)
    done = cloud.run("watch")
    assert done.returncode == 1
    assert len(cloud.calls(" create ")) == 1
    assert "no use in trying again" in done.stderr


def test_slices_that_are_lost_during_the_install_are_made_again(cloud):
    lost = {"match": " scp ", "times": 1, "err": "NOT_FOUND: no such node\n", "code": 1}
    states = cloud.states("ACTIVE", "SUSPENDED", GONE, then="ACTIVE")
    cloud.rules(*states, lost, *cloud.workers("bare", "done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    verbs = ["describe", "status", "scp", "describe", *START, "describe", "status"]
    assert cloud.verbs() == verbs


def test_a_cloud_that_does_not_answer_is_asked_again(cloud):
    deaf = {"err": "socket closed\n", "code": 1}
    cloud.rules(*cloud.states(deaf, deaf, then="ACTIVE"), *cloud.workers("done 0"))
    done = cloud.run("watch", "--call_tries=1")
    assert done.returncode == 0, done.stderr
    assert "no answer about sft: try 2 of 10" in cloud.log.read_text()


def test_workers_that_stay_silent_get_new_slices(cloud):
    one = cloud.workers("running 7", hosts=1)[0] | {"times": 10}
    states = cloud.states(*["ACTIVE"] * 10, GONE, then="ACTIVE")
    cloud.rules(*states, one, *cloud.workers("done 0"))
    done = cloud.run("watch")
    assert done.returncode == 0, done.stderr
    assert "not all of 8 workers answer (10)" in cloud.log.read_text()
    assert len(cloud.calls(" delete ")) == len(cloud.calls(" create ")) == 1


def test_interrupted_waiting_takes_the_request_back(cloud):
    cloud.rules(*cloud.states(GONE, "WAITING_FOR_RESOURCES"))
    code, said = cloud.interrupt("create", "--poll=30", at=" create ")
    assert code == 130
    assert "interrupted: taking the request for sft back" in said
    assert cloud.verbs()[-1] == "delete" and "--async" in cloud.calls()[-1]


def test_interrupted_starting_stops_all_workers(cloud):
    cloud.rules({"match": "worker.sh run", "sleep": 30})
    code, said = cloud.interrupt("run", at="worker.sh run")
    assert code == 130 and "interrupted: stopping sft" in said
    assert cloud.verbs() == ["run", "stop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_watching_leaves_the_run_alone(cloud, number):
    running = {"match": "worker.sh status", "out": cloud.workers("running 7")[0]["out"]}
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, running)
    code, said = cloud.interrupt("watch", "--poll=30", at="worker.sh status", number=number)
    assert code == 130
    assert "no longer watched; sft goes on, and sft costs" in said
    assert set(cloud.verbs()) == {"describe", "status"}


def test_a_whole_life(cloud):
    done = cloud.run("life")
    assert done.returncode == 1 and not cloud.calls(), "it asks first"
    cloud.rules(*cloud.states(GONE, GONE, then="ACTIVE"), *cloud.workers("done 0"))
    done = cloud.run("life", "--yes")
    assert done.returncode == 0, done.stderr
    assert cloud.verbs()[-3:] == ["status", "export", "delete"]


def test_a_whole_life_on_gke(cloud):
    cloud.rules({"match": "get jobset", "out": "Completed"})
    done = cloud.run("life", "--yes", "--via=jobset")
    assert done.returncode == 0, done.stderr
    verbs = [verb for verb in cloud.verbs() if verb not in ("get-credentials", "describe")]
    assert verbs[:4] == ["apply", "create", "build", "push"]
    assert verbs[4:] == ["get", "run", "delete", "delete"]


def test_a_life_whose_export_fails_says_that_slices_are_there(cloud):
    told = [*cloud.workers("done 0"), {"match": "worker.sh export", "code": 1}]
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *told)
    done = cloud.run("life", "--yes", "--call_tries=1")
    assert done.returncode == 1
    assert "sft is still there and costs\n  mend: launch/tpu.sh export again" in done.stderr
    assert not cloud.calls(" delete ")


def test_a_life_that_fails_keeps_what_could_be_looked_at(cloud):
    cloud.rules({"match": "describe", "out": "ACTIVE\n"}, *cloud.workers("done 2"))
    done = cloud.run("life", "--yes")
    assert done.returncode == 2
    assert not cloud.calls(" delete ") and not cloud.calls("export")
