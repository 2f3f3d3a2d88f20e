"""``alphacl doctor`` says what is there, and exits with 1 where a sweep would fail."""

import pytest


@pytest.mark.slow
def test_a_doctor_finds_what_would_be_in_the_way(alphacl, tmp_path):
    code, out, _ = alphacl("doctor", "--storage", tmp_path / "runs", "--data-dir", tmp_path)
    assert (code, "✗" in out) == (0, False)
    assert len(out.splitlines()) < 24, "one screen"
    code, out, _ = alphacl(
        "doctor", "--storage", "/proc/runs", "--address", "127.0.0.1:1", "--tracking-uri", "sqlite:////proc/x.db"
    )
    assert code == 1
    bad = [line for line in out.splitlines() if line.startswith("✗")]
    assert [line.split()[1] for line in bad] == ["storage", "MLflow", "Ray"]
    assert "nobody answers there" in bad[-1]
