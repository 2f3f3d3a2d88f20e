"""Files that somebody else left: what is no regular file is refused, in no time, and what is too large is not read."""

import os

import pytest

from trainer.errors import UserError
from trainer.files import read_bounded


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "device").symlink_to("/dev/zero")
    assert read_bounded(tmp_path / "file", 100) == b"x" * 100
    before = len(os.listdir("/proc/self/fd"))
    for name, says in {"pipe": "pipe or device", "folder": "folder", "link": "link", "circle": "link", "device": "link"}.items():
        with pytest.raises(UserError, match=f"expected a regular file, got a {says}"):
            read_bounded(tmp_path / name, 100)
    with pytest.raises(UserError, match="at most 99 bytes, got 100"):
        read_bounded(tmp_path / "file", 99)
    with pytest.raises(UserError, match="got a pipe or device"):
        read_bounded(tmp_path.__class__("/dev/zero"), 99)
    for name in ("none", "file/none"):
        with pytest.raises(FileNotFoundError):
            read_bounded(tmp_path / name, 99)
    with pytest.raises(UserError, match="NUL"):
        read_bounded(tmp_path / "a\0b", 99)
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    assert read_bounded(tmp_path / "large", 3_000_000) == (tmp_path / "large").read_bytes()
