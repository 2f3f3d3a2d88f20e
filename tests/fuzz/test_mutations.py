"""No file of a sweep, whatever it holds, brings a traceback, a hang, a control character on a terminal or a wrong figure."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import unicodedata

import pytest

from results.importing import import_sweep
from results.record.layout import ENCODER
from results.record.lookup import find_folder, find_sweep
from results.record.outside_records import GivenTrial
from results.record.reader import open_sweep
from results.record.status import Status
from results.record.sweep_writer import SweepWriter
from search_spaces import load_spec
from tests.fuzz.mutations import draw
from trainer.encoders import make_encoder
from trainer.errors import UserError
from trainer.files import checksum, save_checkpoint

SPACE = """
description: six trials of given figures
search: {sampler: random, trials: 6, seed: 0, metric: val/linear}
trial: {epochs: 2, encoder: convnet(width=4)}
space: {objective: [infonce, direct(p=2)], tau: {float: [0.1, 0.5]}}
"""
LIMIT_S = 30  # of one command on a busy machine; a hang takes for ever
CHEAP, COSTLY = 0.3, 0.04  # the shares of mutations in a sample on which a costly command is tried
PARTS = 6  # of the many mutations of a soak, for processes that run tests side by side


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A storage with a finished sweep of six trials, one of them failed, one stopped, one under way; and their true metrics."""
    storage = tmp_path_factory.mktemp("whole")
    space = storage / "space.yaml"
    space.write_text(SPACE)
    folder = SweepWriter.create(storage, "s", load_spec(space), {"environment": {"commit": "abc+", "torch": "2"}, "gpu": 0.0})
    space.unlink()
    truth, draw_from = {}, random.Random(3)
    from trainer import TrialConfig

    for place, settings in enumerate([("infonce", 0.1), ("infonce", 0.5), ("direct(p=2)", 0.1), ("direct(p=2)", 0.5)] * 2):
        config = TrialConfig(epochs=2, encoder="convnet(width=4)", objective=settings[0], tau=settings[1], seed=place // 4)
        history = [{"epoch": e, **_metrics(draw_from, e)} for e in range(3)]
        writer = folder.trial(config.digest)
        if place < 5:
            record = {
                "version": 2, "digest": config.digest, "config": config.to_dict(), "protocol": "default", "seconds": 12.5,
                "metrics": {k: v for k, v in {**history[0], **history[-1]}.items() if k != "epoch"}, "history": history,
                "environment": {"device": "cpu: x", "precision": "float32", "threads": 1, "commit": "abc+"},
            }  # fmt: skip
            record["checksum"] = checksum(record)
            truth[config.digest] = record["metrics"]
            facts = {"result": record, "reports": [{"at": 1.8e9 + e, **row} for e, row in enumerate(history)]}
            writer.adopt(GivenTrial(writer.folder, config.to_dict(), facts=facts), place, "confirm" if place == 4 else "trial")
            if place == 0:
                save_checkpoint(writer.folder / "attempt-0001" / ENCODER, make_encoder(config.encoder, 1, 8).state_dict())
            continue
        writer.plan(config, place)
        writer.begin()
        lines = "".join(json.dumps({"at": 1.8e9, **row}) + "\n" for row in history[:2])
        (writer.attempt / "reports.jsonl").write_text(lines)
        if place == 5:
            writer.fail("failed", "Traceback (most recent call last):\nRuntimeError: \x1b[31mno memory\x1b[0m")
        if place == 6:
            writer.stop(1, "val/linear", 50.0)
    return storage, truth


def _metrics(rng, epoch):
    figures = {"val/linear": 50 + 30 * rng.random(), "val/knn": 50 + 30 * rng.random(), "time/epoch_s": rng.random()}
    if epoch == 0:
        return {**figures, "untrained/linear": 40 + rng.random(), "untrained/knn": 40 + rng.random()}
    figures |= {"train/loss": rng.random(), "alpha/effective_negatives": float("nan") if rng.random() < 0.2 else 100.0}
    return figures if epoch < 2 else {**figures, "test/linear": 50 + 30 * rng.random(), "test/knn": 50 + 30 * rng.random()}


@contextlib.contextmanager
def within(seconds, what):
    def late(*_):
        raise TimeoutError(f"{what} took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def commands(storage, out, rng, share):
    """The reading commands on the sweep, those that take long on a share of the mutations."""
    here = ["--storage", storage]
    yield from (["status", "s", *here], ["status", *here], ["status", "s", "--json", *here], ["table", "s", *here])
    yield from (["table", "s", "--format", form, *here] for form in ("md", "csv", "html", "tex"))
    yield ["export", "s", out / "records", *here]
    yield ["table", f"{out}/records/", *here]
    yield ["import", storage / "s", "--storage", out / "mine", "--damaged"]
    if rng.random() < share:
        yield from (["compare", "s", "whole", *here], ["sensitivity", "s", *here, "--out", out / "s.svg"])
        yield ["report", "s", *here, "--out", out / "r.html"]
        yield ["table", "s", "--paper", *here]
    if rng.random() < share / 3:
        yield ["track", "s", *here, "--tracking-uri", f"sqlite:///{out}/mlflow.db"]


def control_characters(text):
    return {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def try_all(seed, whole, folder, alphacl, empty_store, share):
    """Apply one mutation and run the commands on it; returns its label."""
    rng = random.Random(seed)
    original, truth = whole
    storage, out = folder / "runs", folder / "out"
    out.mkdir(parents=True)
    shutil.copytree(original / "s", storage / "s")
    shutil.copytree(original / "s", storage / "whole")
    shutil.copy(empty_store, out / "mlflow.db")
    mutation = draw(storage / "s", seed)
    what = f"mutation {seed}: {mutation.label}"
    with within(LIMIT_S, what):
        mutation.apply()
    for argv in commands(storage, out, rng, share):
        told = f"{what}: alphacl {' '.join(map(str, argv))}"
        with within(LIMIT_S, told):
            try:
                code, printed, errors = alphacl(*argv)
            except Exception as error:
                raise AssertionError(told) from error
        assert code in (0, 2), told
        assert not control_characters(printed + errors), told
        assert code == 0 or re.fullmatch(r"alphacl: error: [^\n]{3,}\n", errors), (told, errors)
        assert len(printed) + len(errors) < 300_000, told
    _check_figures(what, storage, out, truth)
    return mutation.label


def _check_figures(what, storage, out, truth):
    """What counts as finished has the figures that were computed, wherever it was taken to."""
    found = [lambda: open_sweep(storage, "s"), lambda: find_folder(storage, str(out / "records"))]
    found.append(lambda: find_sweep(out / "mine", "s"))
    for read in found:
        try:
            trials = read().trials()
        except UserError:
            continue
        for trial in trials:
            if trial.status == Status.FINISHED:
                assert json.dumps(trial.metrics) == json.dumps(truth[trial.digest]), f"{what}: trial {trial.digest}"
                assert trial.role == "trial" or trial.index == 4 or trial.folder.parent.name == "records", what


@pytest.mark.slow
def test_a_sample_of_mutations_brings_no_traceback_no_hang_and_no_wrong_figure(seed, whole, tmp_path, alphacl, empty_store):
    first = random.Random(seed).randrange(10**6)
    for number in range(first, first + 25):
        try_all(number, whole, tmp_path / str(number), alphacl, empty_store, COSTLY)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_mutations_bring_no_traceback_no_hang_and_no_wrong_figure(whole, tmp_path, alphacl, empty_store, part):
    """ALPHACL_MUTATIONS says how many in all parts, ALPHACL_FIRST_MUTATION which is the first of the first part."""
    given = os.environ.get("ALPHACL_FIRST_MUTATION")
    count = -(-int(os.environ.get("ALPHACL_MUTATIONS", "600")) // PARTS)
    first = int(given) + part * count if given else random.SystemRandom().randrange(10**6)
    print(f"mutations {first} to {first + count - 1}")
    failed = []
    for number in range(first, first + count):
        folder = tmp_path / str(number)
        try:
            try_all(number, whole, folder, alphacl, empty_store, CHEAP)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are tried too
            failed.append(f"{error}: {error.__cause__!r}")
            print(failed[-1], file=sys.__stderr__, flush=True)  # standard output is captured for the commands
        shutil.rmtree(folder, ignore_errors=True)
    assert not failed, f"{len(failed)} of {count} mutations failed:\n" + "\n".join(failed)


def test_import_of_a_whole_sweep_holds_all_of_it(whole, tmp_path):
    storage, truth = whole
    trials = import_sweep(storage / "s", tmp_path / "mine").trials()
    assert {t.digest: t.metrics for t in trials if t.status == Status.FINISHED}.keys() == truth.keys()
    assert [t.status for t in trials] == [Status.FINISHED] * 5 + [Status.FAILED, Status.STOPPED, Status.STARTED]
