"""The watch over Ray, with a Ray of its own in a process of its own, since it dies."""

import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from orchestrator.driver import ray_cluster
from orchestrator.driver.ray_cluster import _check_descriptors, keep_token_private
from search_spaces import load_spec
from trainer.errors import UserError

SCRIPT = """
    import sys, time
    import psutil
    from orchestrator.driver.ray_cluster import Watch, ray_running
    from orchestrator.driver.interrupts import ends_gently

    Watch.EVERY_S, Watch.GRACE_S = 2.0, 1.0  # also how long the driver may take before it is interrupted again
    with ray_running(None):
        watch = Watch()
        try:
            with ends_gently(), watch:
                time.sleep(3)
                print("alive", watch.died, flush=True)
                for process in psutil.Process().children(recursive=True):
                    if process.name() == "raylet":
                        process.kill()
                time.sleep(300)  # until interrupted: Ray takes long to count a node as dead where the machine is busy
        except KeyboardInterrupt:
            print("interrupted", watch.died, flush=True)
"""


def test_rays_token_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "given")  # so that it is put back
        monkeypatch.delenv(name)
    token = tmp_path / ".ray/auth_token"
    keep_token_private()
    made = token.read_text()
    assert (len(made), token.stat().st_mode & 0o777, len(list(token.parent.iterdir()))) == (64, 0o600, 1)
    token.chmod(0o644)  # as Ray makes it
    keep_token_private()
    assert (token.read_text(), token.stat().st_mode & 0o777) == (made, 0o600)
    monkeypatch.setenv("HOME", "/proc/no such home")
    keep_token_private()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    monkeypatch.delenv("RAY_AUTH_TOKEN")


def test_too_few_file_descriptors_are_told_at_once(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (16, 32))
    with pytest.raises(UserError, match=r"may have 32 open files here, and Ray needs 64 at least; see 'ulimit -n'"):
        _check_descriptors()


@pytest.mark.parametrize(
    ("address", "says"), [(None, "^cannot start Ray: it timed out$"), ("192.0.2.7:6379", "^cannot join Ray at 192")]
)
def test_a_ray_that_does_not_start_in_time_is_told_in_one_line(monkeypatch, address, says):
    def slow(**words):
        raise Exception("it timed out\nmore of it")

    monkeypatch.setattr(ray_cluster, "keep_token_private", lambda: None)
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_cluster.ray, "init", slow)
    monkeypatch.setattr(ray_cluster.ray, "shutdown", lambda: None)
    with pytest.raises(UserError, match=says), ray_cluster.ray_running(address):
        pass


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "and 4 GPUs stay idle"), ("resources: {cpu: 2}\n", "'resources: {gpu: 1}'"), ("resources: {gpu: 0}\n", "")],
)
def test_gpus_that_the_yaml_leaves_idle_are_told(write, monkeypatch, capsys, text, says):
    nodes = [{"Alive": True, "Resources": {"CPU": 8, "GPU": 2}}] * 2
    monkeypatch.setattr(ray_cluster.ray, "nodes", lambda: nodes)
    ray_cluster.check_resources(load_spec(write(f"{text}trial: {{dataset: digits}}\n")))
    told = capsys.readouterr().err
    assert says in told
    assert bool(told) is bool(says)


@pytest.mark.ray
def test_a_driver_whose_ray_has_died_is_interrupted_and_one_whose_ray_lives_is_not(tmp_path):
    words = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell's script starts a program in the background
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if line.startswith(("alive", "interrupted"))]  # Ray speaks too
    assert said == ["alive False", "interrupted True"], done.stdout + done.stderr
