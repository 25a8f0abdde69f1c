"""launch/tpu.sh on GKE: XPK commands, and a JobSet checked field by field."""

from __future__ import annotations

import shlex

import pytest

yaml = pytest.importorskip("yaml", reason="needs pyyaml: pip install -e '.[dev]'")

IN_CLUSTER = ["--cluster=tpus", "--zone=us-east5-a", "--project=my-project"]
WORDS = ['--config.data.annotations=("my data/a.json",)', "--config.data.preamble=it's $HOME \\"]


def manifest(cloud, *words: str) -> dict:
    done = cloud.run("render", "--via=jobset", *words)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def pod_of(jobset: dict) -> dict:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("accelerator", "slices", "tpu", "topology", "hosts", "chips"),
    [
        ("v5p-64", 1, "tpu-v5p-slice", "2x4x4", 8, 4),
        ("v5p-8", 1, "tpu-v5p-slice", "2x2x1", 1, 4),
        ("v5litepod-256", 2, "tpu-v5-lite-podslice", "16x16", 64, 4),
        ("v5litepod-8", 1, "tpu-v5-lite-podslice", "2x4", 1, 8),
        ("v6e-16", 4, "tpu-v6e-slice", "4x4", 4, 4),
    ],
)
def test_the_manifest_asks_for_the_slices(cloud, accelerator, slices, tpu, topology, hosts, chips):
    jobset = manifest(cloud, f"--accelerator={accelerator}", f"--slices={slices}", "--", *WORDS)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["metadata"]["name"] == "sft"
    assert jobset["metadata"]["annotations"] == {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
    }
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 50}
    [job] = jobset["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert job["replicas"] == slices
    assert (spec["parallelism"], spec["completions"]) == (hosts, hosts)
    assert (spec["completionMode"], spec["backoffLimit"]) == ("Indexed", 0)
    pod = pod_of(jobset)
    assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] == 120
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": tpu,
        "cloud.google.com/gke-tpu-topology": topology,
        "cloud.google.com/gke-spot": "true",
    }
    [container] = pod["containers"]
    assert container["resources"] == {"limits": {"google.com/tpu": chips}}
    assert container["image"] == "host/r/sg4v:1"
    assert container["command"] == ["/sg4v/.venv/bin/sg4v"]
    assert container["args"] == [
        *("train", "--config=configs/run.py", "--workdir=gs://bucket/runs/sft"),
        *WORDS,
    ]
    assert [m["mountPath"] for m in container["volumeMounts"]] == ["/dev/shm"]
    assert "env" not in container and "envFrom" not in container
    assert "serviceAccountName" not in pod


def test_what_is_optional_in_the_manifest(cloud):
    (cloud.folder / "w.env").write_text("HF_TOKEN=hunter2\n")
    words = ["--capacity=on_demand", "--kubernetes_account=trainer", '--env=A=b "c"', "--env=B=d"]
    jobset = manifest(cloud, *words, f"--env_file={cloud.folder}/w.env", "--max_restarts=3")
    pod = pod_of(jobset)
    assert "cloud.google.com/gke-spot" not in pod["nodeSelector"]
    assert pod["serviceAccountName"] == "trainer"
    container = pod["containers"][0]
    assert container["env"] == [{"name": "A", "value": 'b "c"'}, {"name": "B", "value": "d"}]
    assert container["envFrom"] == [{"secretRef": {"name": "sft-env"}}]
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 3}
    assert "hunter2" not in str(jobset)


def test_inputs_are_fetched_before_the_run(cloud):
    jobset = manifest(cloud, "--inputs=gs://bucket/inputs")
    container = pod_of(jobset)["containers"][0]
    assert container["command"] == ["bash"]
    assert container["args"] == [
        *("/sg4v/launch/tpu/worker.sh", "here", "gs://bucket/inputs", "--"),
        *("train", "--config=configs/run.py", "--workdir=gs://bucket/runs/sft"),
    ]
    cloud.run("run", "--via=xpk", "--inputs=gs://bucket/inputs")
    told = shlex.split(cloud.calls("workload create")[0][-1].removeprefix("--command="))
    assert told[3:9] == [
        "bash",
        "launch/tpu/worker.sh",
        "here",
        "gs://bucket/inputs",
        "--",
        "train",
    ]


def test_node_pools_are_made_for_each_slice_and_deleted(cloud):
    cloud.rules({"match": "clusters describe", "err": "NOT_FOUND", "code": 1})
    done = cloud.run("create", "--via=jobset", "--accelerator=v6e-16", "--slices=2")
    assert done.returncode == 0, done.stderr
    place = ["--location=us-east5-a", "--project=my-project"]
    assert cloud.calls("clusters create") == [
        [
            *("gcloud", "container", "clusters", "create", "tpus", *place),
            *("--release-channel=regular", "--workload-pool=my-project.svc.id.goog"),
            *("--machine-type=e2-standard-4", "--num-nodes=1"),
        ]
    ]
    pools = cloud.calls("node-pools create")
    assert pools[0] == [
        *("gcloud", "container", "node-pools", "create", "sft-0", "--cluster=tpus", *place),
        *("--node-locations=us-east5-a", "--machine-type=ct6e-standard-4t", "--num-nodes=4"),
        *("--tpu-topology=4x4", "--spot"),
    ]
    assert [pool[4] for pool in pools] == ["sft-0", "sft-1"]
    assert len(cloud.calls("kubectl apply --server-side")) == 1
    done = cloud.run("delete", "--via=jobset", "--slices=2")
    assert done.returncode == 1 and "without --yes" in done.stderr
    assert cloud.run("delete", "--via=jobset", "--slices=2", "--yes").returncode == 0
    assert [call[4] for call in cloud.calls("node-pools delete")] == ["sft-0", "sft-1"]
    assert not cloud.calls("clusters delete"), "the cluster may be others' too"


def test_a_jobset_is_applied_with_its_secret_and_stopped(cloud):
    (cloud.folder / "w.env").write_text("HF_TOKEN=hunter2\n")
    done = cloud.run("run", "--via=jobset", f"--env_file={cloud.folder}/w.env")
    assert done.returncode == 0, done.stderr
    get, *rest = cloud.calls()
    assert get[:5] == ["gcloud", "container", "clusters", "get-credentials", "tpus"]
    assert rest == [
        ["kubectl", "delete", "secret", "sft-env", "--ignore-not-found"],
        [
            *("kubectl", "create", "secret", "generic", "sft-env"),
            f"--from-env-file={cloud.folder}/w.env",
        ],
        ["kubectl", "apply", f"--filename={cloud.folder}/sft.yaml"],
    ]
    assert yaml.safe_load((cloud.folder / "sft.yaml").read_text())["kind"] == "JobSet"
    assert "hunter2" not in done.stdout + done.stderr + cloud.log.read_text()
    assert cloud.run("stop", "--via=jobset").returncode == 0
    assert cloud.calls()[-1] == ["kubectl", "delete", "jobset", "sft", "--ignore-not-found"]


@pytest.mark.parametrize("via", ["jobset", "xpk"])
def test_image_logs_and_export(cloud, via):
    for verb in ("install", "status", "logs", "export"):
        done = cloud.run(verb, f"--via={via}", "--worker=2", "--lines=5")
        assert done.returncode == 0, done.stderr
    build, push = cloud.calls("docker")
    assert build[1:3] == ["build", f"--file={cloud.checkout}/launch/tpu/Dockerfile"]
    assert build[3:] == [
        "--build-arg=EXTRAS=tpu,gcs,tensorboard",
        "--tag=host/r/sg4v:1",
        str(cloud.checkout),
    ]
    assert push == ["docker", "push", "host/r/sg4v:1"]
    first = "jobset.sigs.k8s.io/job-index=0"
    label = "jobset.sigs.k8s.io/jobset-name=sft"
    assert cloud.calls("kubectl logs") == [
        [
            *("kubectl", "logs"),
            f"--selector={label},{first},batch.kubernetes.io/job-completion-index=2",
            "--tail=5",
        ]
    ]
    [export] = cloud.calls("kubectl run")
    assert export[2] == "sft-export"
    assert export[export.index("--") + 1 :] == [
        *("bash", "/sg4v/launch/tpu/worker.sh", "export", "gs://bucket/runs/sft"),
        *("gs://bucket/models/sft", "hf"),
    ]


def test_a_jobset_is_watched_to_its_end(cloud):
    gone = {"match": "get jobset", "times": 1, "err": 'jobsets "sft" not found', "code": 1}
    said = [{"match": "get jobset", "times": 1, "out": out} for out in ("", "Failed", "Completed")]
    cloud.rules(gone, *said)
    done = cloud.run("watch", "--via=jobset", "--call_tries=1")
    assert done.returncode == 0, done.stderr
    verbs = [verb for verb in cloud.verbs() if verb not in ("get", "get-credentials", "logs")]
    assert verbs == ["apply", "delete", "apply"]
    assert "sft failed: try 1 of 10" in cloud.log.read_text()


def test_xpk_commands(cloud):
    for verb in ("create", "run", "stop"):
        words = ["--", *WORDS] if verb == "run" else []
        done = cloud.run(verb, "--via=xpk", "--slices=2", "--env=A=b c", *words)
        assert done.returncode == 0, done.stderr
    assert cloud.run("delete", "--via=xpk", "--yes").returncode == 0
    create, run, stop, delete = cloud.calls()
    assert create == [
        *("xpk", "cluster", "create", *IN_CLUSTER),
        *("--tpu-type=v5p-64", "--num-slices=2", "--spot"),
    ]
    assert run[:-1] == [
        *("xpk", "workload", "create", "--workload=sft", *IN_CLUSTER),
        *("--tpu-type=v5p-64", "--num-slices=2", "--docker-image=host/r/sg4v:1"),
        *("--max-restarts=50", "--restart-on-user-code-failure"),
        *("--termination-grace-period-seconds=120", "--env=A=b c"),
    ]
    assert shlex.split(run[-1].removeprefix("--command=")) == [
        *("cd", "/sg4v", "&&", ".venv/bin/sg4v", "train", "--config=configs/run.py"),
        "--workdir=gs://bucket/runs/sft",
        *WORDS,
    ]
    assert stop == ["xpk", "workload", "delete", "--workload=sft", *IN_CLUSTER, "--force"]
    assert delete == ["xpk", "cluster", "delete", *IN_CLUSTER, "--force"]


@pytest.mark.parametrize(
    ("capacity", "flag"),
    [("on_demand", "--on-demand"), ("reserved", "--reservation=mine"), ("spot", "--spot")],
)
def test_xpk_capacity(cloud, capacity, flag):
    done = cloud.run("create", "--via=xpk", f"--capacity={capacity}", "--reservation=mine")
    assert done.returncode == 0, done.stderr
    assert cloud.calls()[0][-1] == flag
    done = cloud.run("create", "--via=xpk", "--capacity=reserved", "--reservation=")
    assert "needs --reservation=NAME" in done.stderr


def test_an_xpk_workload_is_watched_to_its_end(cloud):
    gone = {"match": "list", "times": 1, "out": "Workload named sft does not exist.", "code": 1}
    codes = [{"match": "list", "times": 1, "code": code} for code in (124, 125, 0)]
    cloud.rules(gone, *codes)
    done = cloud.run("watch", "--via=xpk")
    assert done.returncode == 0, done.stderr
    verbs = [" ".join(call[1:3]) for call in cloud.calls("xpk")]
    look, create = "workload list", "workload create"
    assert verbs == [look, create, look, look, "workload delete", create, look]


def test_gke_needs_an_image_and_a_cluster(cloud):
    assert "run needs --image" in cloud.run("run", "--via=xpk", "--image=").stderr
    assert "run needs --cluster" in cloud.run("run", "--via=jobset", "--cluster=").stderr
    assert "use --via=jobset" in cloud.run("render", "--via=xpk").stderr
