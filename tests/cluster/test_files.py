"""The cluster files, held against what Ray, AWS, Google and KubeRay say may be in them; no cloud is asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from importlib import resources
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CLUSTERS = REPOSITORY / "orchestrator" / "clusters"
UP = ["local", "aws", "gcp"]


def read(name: str) -> dict:
    return yaml.safe_load((CLUSTERS / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", UP)
def test_ray_accepts_the_file(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(read(name))
    validate_config(config)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert sum(t["max_workers"] for t in types.values()) >= config["max_workers"] > 0
    with pytest.raises(Exception, match="max_worker"):
        validate_config(config | {"max_worker": 3})


@pytest.mark.parametrize("name", UP)
def test_every_command_is_bash(name):
    config = read(name)
    lines = [line for key, value in config.items() if key.endswith("_commands") for line in value]
    assert len(lines) >= 6
    for line in lines:
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("name", UP)
def test_what_must_hold_on_every_cluster(name):
    """The pinned install, the token on every node, a place for sweeps, a dashboard for the head alone, nothing ignored."""
    config = read(name)
    assert config["file_mounts"] == {"~/alphacl": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert config["rsync_filter"] == [".gitignore"]
    assert config["rsync_exclude"] == [".git"]
    install, profile = config["setup_commands"]
    place = {"local": "$HOME/alphacl-runs", "aws": "s3://EDIT/alphacl", "gcp": "gs://EDIT/alphacl"}[name]
    assert [install, profile.replace(place, "$HOME/alphacl-runs")] == read("local")["setup_commands"]
    assert "mount" not in str(config["initialization_commands"] if name != "local" else "")
    assert '--constraint ~/alphacl/constraints.txt --editable "$HOME/alphacl[cluster]"' in install
    assert f"RAY_AUTH_MODE=token ALPHACL_STORAGE={place}" in profile
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]
    assert "ray start --address=$RAY_HEAD_IP:6379" in config["worker_start_ray_commands"][-1]


def test_aws_takes_the_node_types():
    botocore = pytest.importorskip("botocore.session", reason="needs boto3: pip install --editable '.[aws]'")
    from botocore.validate import ParamValidator

    shape = botocore.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for node in read("aws")["available_node_types"].values():
        report = ParamValidator().validate({**node["node_config"], "MinCount": 1, "MaxCount": 1}, shape)
        assert not report.has_errors(), report.generate_report()
    assert ParamValidator().validate({"InstanceTyp": "x", "MinCount": 1, "MaxCount": 1}, shape).has_errors()


def test_google_takes_the_node_types():
    pytest.importorskip("googleapiclient", reason="needs google-api-python-client: pip install --editable '.[gcp]'")
    text = resources.files("googleapiclient.discovery_cache.documents").joinpath("compute.v1.json").read_text()
    schemas = json.loads(text)["schemas"]

    def check(value: object, schema: dict, path: str) -> None:
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
        if schema.get("format") == "int64":  # written as a string in JSON, taken as a number too
            kinds["string"] = (str, int)
        assert isinstance(value, kinds[schema["type"]]), f"{path}: expected {schema['type']}"
        if schema["type"] == "array":
            for child in value:
                check(child, schema["items"], path)
        elif schema["type"] == "object":
            for key, child in value.items():
                assert key in schema["properties"], f"{path}: unknown key {key}"
                check(child, schema["properties"][key], f"{path}.{key}")

    for name, node in read("gcp")["available_node_types"].items():
        check(node["node_config"], {"$ref": "Instance"}, name)
    with pytest.raises(AssertionError, match="unknown key"):
        check({"machineTyp": "x"}, {"$ref": "Instance"}, "node")


# What ray.io/v1 knows, of KubeRay 1.6's RayJobSpec, RayClusterSpec, HeadGroupSpec and WorkerGroupSpec; True: required.
JOB = {"entrypoint": False, "shutdownAfterJobFinishes": False, "ttlSecondsAfterFinished": False, "backoffLimit": False,
       "submissionMode": False, "rayClusterSpec": False, "submitterPodTemplate": False}  # fmt: skip
CLUSTER = {"rayVersion": False, "authOptions": False, "headGroupSpec": True, "workerGroupSpecs": False}
HEAD = {"rayStartParams": True, "template": True}
WORKERS = {"groupName": True, "replicas": False, "minReplicas": True, "maxReplicas": True, **HEAD}


def keys_of(value: dict, known: dict) -> None:
    assert value.keys() <= known.keys()
    assert {key for key, required in known.items() if required} <= value.keys()


def test_the_rayjob_is_one():
    job = read("rayjob")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    keys_of(spec, JOB)
    keys_of(cluster, CLUSTER)
    keys_of(cluster["headGroupSpec"], HEAD)
    for group in cluster["workerGroupSpecs"]:
        keys_of(group, WORKERS)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert f"--nodes {1 + group['replicas']}" in spec["entrypoint"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"ray=={cluster['rayVersion']}\n" in (REPOSITORY / "constraints.txt").read_text()
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert {"name": "ALPHACL_STORAGE", "value": "s3://EDIT/alphacl"} in head["env"]
    for template in [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]:
        pod = template["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert all(isinstance(value, str) for value in container["resources"]["limits"].values())


def test_the_slurm_script_is_bash():
    subprocess.run(["bash", "-n", CLUSTERS / "slurm.sh"], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", CLUSTERS / "slurm.sh"], check=True)


def test_what_the_entry_points_call_is_there():
    """rayjob.yaml and slurm.sh run orchestrator.submit, with options that it knows; rayjob.yaml's pods announce their end."""
    (pod,) = [group["template"]["spec"] for group in read("rayjob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    *python, module, seconds, until, stay = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert [*python, module, seconds, stay] == ["python", "-m", "orchestrator.leave", "--seconds", "--stay"]
    assert float(until) < pod["terminationGracePeriodSeconds"]
    from orchestrator.submit import build_parser

    entry = read("rayjob")["spec"]["entrypoint"]
    module, words = re.fullmatch(r"python -m (\S+) (.*)", entry).groups()
    assert module == "orchestrator.submit"
    assert f"python -m {module} " in (CLUSTERS / "slurm.sh").read_text()
    arguments, others = build_parser().parse_known_args(words.split())
    assert not others
    assert arguments.nodes == 5


def test_before_the_time_limit_slurm_sh_ends_the_sweep_gently_and_requeues_its_job(tmp_path):
    """With stand-ins for Slurm and Ray that run the sweep's command here; the sweep notes the signal as its driver would."""
    stand_ins = {
        "srun": 'while [[ $1 == -* ]]; do shift; done; export SLURM_NODEID=0; exec "$@"',
        "scontrol": (REPOSITORY / "tests/cluster/scontrol").read_text(),
        "ray": '[ "$1" = symmetric-run ] || exit 0; while [ "$1" != -- ]; do shift; done; shift; "$@"',
        "python": f'trap "echo gently >> {tmp_path}/log; exit 130" TERM; echo "$@" > {tmp_path}/log; while :; do sleep 0.1; done',
    }
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "localhost"}
    environment = {**os.environ, **slurm, "USER": "root", "ALPHACL_STORAGE": str(tmp_path / "runs")}
    environment |= {"SLURM_SUBMIT_DIR": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["bash", str(CLUSTERS / "slurm.sh"), "paper_table2", "--name", "two words"]
    job = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=60)
    assert (tmp_path / "log").read_text() == "-m orchestrator.submit paper_table2 --name two words\ngently\n", output
    assert "requeued 4711" in output
    assert job.returncode == 130
    assert not list((tmp_path / "runs").iterdir())
