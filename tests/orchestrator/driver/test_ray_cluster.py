"""The watch over Ray, with a Ray of its own in a process of its own, since it dies."""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import sys, time
    import psutil
    from orchestrator.driver.ray_cluster import Watch, ray_running

    Watch.EVERY_S, Watch.GRACE_S = 0.2, 1.0
    with ray_running(None):
        watch = Watch()
        try:
            with watch:
                time.sleep(3)
                print("alive", watch.died, flush=True)
                for process in psutil.Process().children(recursive=True):
                    if process.name() == "raylet":
                        process.kill()
                time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", watch.died, flush=True)
"""


@pytest.mark.ray
def test_a_driver_whose_ray_has_died_is_interrupted_and_one_whose_ray_lives_is_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("alive", "interrupted"))]  # Ray speaks too
    assert said == ["alive False", "interrupted True"], done.stdout + done.stderr
