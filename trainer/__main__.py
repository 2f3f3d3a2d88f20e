"""Pretrain and probe one encoder, or probe one that exists, without Ray, Optuna or MLflow: ``python -m trainer``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from trainer.config import TrialConfig, describe_fields
from trainer.errors import ConfigError, TrialDiverged, UserError
from trainer.files import load_checkpoint, save_checkpoint, write_json
from trainer.image_sources import order_warning
from trainer.options import Parser
from trainer.plugins import load_plugin
from trainer.pretrained import Pretrained, export
from trainer.terminal import complain, harmless_output
from trainer.trial import Report, run_trial

EXAMPLE = "example: python -m trainer --dataset digits --objective 'direct(p=4)' --tau 0.5 --epochs 20 --seed 0"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m trainer``: one option per setting of TrialConfig, and those that say where it runs."""
    parser = Parser(prog="python -m trainer", description=__doc__, epilog=EXAMPLE)
    trial = parser.add_argument_group("the trial")
    for name, default, text in describe_fields():
        shown = "" if default in (None, ()) else f" (default: {str(default).lower() if isinstance(default, bool) else default})"
        text = (text + shown).replace("%", "%%")
        if isinstance(default, bool):
            trial.add_argument(_option(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            trial.add_argument(_option(name), metavar="VALUE", default=argparse.SUPPRESS, help=text)
    run = parser.add_argument_group("where it runs")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
    run.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    run.add_argument("--data-dir", help="downloads and decoded images (default: $ALPHACL_DATA or ~/.cache/alphacl)")
    run.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save the state here every epoch, and go on from it if it is there"
    )
    run.add_argument(
        "--deterministic", action="store_true", help="the same bits every time on a GPU too, slower (a CPU always does so)"
    )
    run.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="probe this encoder without pretraining: ours, or torchvision's state dict",
    )
    run.add_argument("--export", type=Path, metavar="FILE", help="write the encoder as a state dict under torchvision's names")
    run.add_argument("--record", type=Path, metavar="FILE", help="write the full JSON record, history included, here")
    run.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="import a module that registers components")
    return parser


def _plain(name: str, text: Any, default: Any) -> Any:
    """An option's text as the value that a YAML file would hold."""
    if not isinstance(text, str) or isinstance(default, str):
        return text
    if name == "read_at":
        return [_plain("epoch", part, 0) for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_config(arguments: argparse.Namespace) -> TrialConfig:
    """Return the trial that the options describe; a protocol decides only those settings that no option gives.

    Raises:
        UserError: if a setting is wrong; the message names the option.
    """
    given = vars(arguments)
    values = {name: _plain(name, given[name], default) for name, default, _ in describe_fields() if name in given}
    if arguments.pretrained is not None:
        values = {"epochs": 0, **values}
    try:
        return TrialConfig.from_dict(values)
    except ConfigError as error:
        raise UserError(f"{_option(error.field)}: {error}") from None


def _line(report: Report) -> str:
    words = [f"epoch {report.epoch:>{len(str(report.epochs))}}/{report.epochs}"]
    for name, value in report.metrics.items():
        if name.startswith(("alpha/", "embedding/", "feature/")):
            continue  # in the record, and in MLflow
        words.append(f"{name} {value:.4f}" if name == "train/loss" else f"{name} {value:.2f}")
    return "  ".join(words)


def _can_write(path: Path | None) -> None:
    """Refuse a file that cannot be written; the folder of one below the working folder is made, as in records/x.json."""
    if path is not None and not path.is_absolute() and ".." not in path.parts:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
    if path is not None and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise UserError(f"cannot write {path}: expected a file in a folder that exists")


def _warn(line: str) -> None:
    print(f"python -m trainer: warning: {line}", file=sys.stderr, flush=True)


def _save(path: Path, report: Report) -> None:
    """Save a checkpoint; a disk that is full for a while costs the checkpoint, not the run."""
    try:
        save_checkpoint(path, report.state())
    except OSError as error:
        _warn(f"cannot write the checkpoint {path}: {error.strerror or error}; going on without")


def run(arguments: argparse.Namespace) -> int:
    """Run the trial that the options describe and print a line per epoch.

    Returns:
        0, or 2 where a result could not be written.

    Raises:
        UserError: if an option is wrong, or the data or a file cannot be used.
        TrialDiverged: if the loss or a feature is no longer finite.
    """
    for module in arguments.plugin:
        load_plugin(module)
    config = parse_config(arguments)
    if line := order_warning(config.dataset, config.shuffle):
        _warn(line)
    for path in (arguments.record, arguments.checkpoint, arguments.export):
        _can_write(path)
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads: expected threads >= 1, got {arguments.threads}")
    pretrained = None if arguments.pretrained is None else Pretrained(arguments.pretrained)
    if pretrained is not None and arguments.checkpoint:
        raise UserError("--checkpoint: there is nothing to go on from with --pretrained; leave one of them out")
    state = arguments.checkpoint and load_checkpoint(arguments.checkpoint, _warn)
    last = None
    for report in run_trial(
        config,
        resume=state,
        device=arguments.device,
        threads=arguments.threads,
        data_root=arguments.data_dir,
        pretrained=pretrained,
        deterministic=arguments.deterministic,
    ):
        print(_line(report), flush=True)
        if arguments.checkpoint:
            _save(arguments.checkpoint, report)
        last = report
    if last is None or last.record is None:
        raise RuntimeError("the trial ended without its final report")
    print(json.dumps({key: value for key, value in last.record.items() if key != "history"}), flush=True)
    return _write_results(arguments, last)


def _write_results(arguments: argparse.Namespace, last: Report) -> int:
    path = None
    try:
        if path := arguments.record:
            write_json(path, last.record)
        if path := arguments.export:
            print(export(last.state()["encoder"], path), file=sys.stderr)
    except OSError as error:
        print(f"python -m trainer: error: cannot write {path}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one trial and return the exit code: 0 done, 1 diverged, 2 bad input or a result not written, 130 interrupted."""
    with harmless_output():
        arguments = build_parser().parse_args(argv)
        try:
            code = run(arguments)
            sys.stdout.flush()
            return code
        except UserError as error:
            option = f"{_option(error.field)}: " if isinstance(error, ConfigError) else ""
            complain(f"python -m trainer: error: {option}{error}")
            return 2
        except TrialDiverged as error:
            complain(f"python -m trainer: {error}")
            return 1
        except KeyboardInterrupt:
            kept = f"; run it again to go on from {arguments.checkpoint}" if arguments.checkpoint else ""
            complain(f"python -m trainer: interrupted{kept}")
            return 130


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of our output has gone, as in '… | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
