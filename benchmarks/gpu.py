"""Seconds per epoch on a GPU: ours, a plain PyTorch trainer and lightly's SimCLR in one run, with where the time goes.

    export PYTHONPATH=.                                                # where the project is not installed
    python benchmarks/gpu.py --out gpu.json                            # CIFAR-10's size, ResNet-18, batch 128
    python benchmarks/gpu.py --device cpu --images 512 --width 8 --batch-size 64 --epochs 2     # shows that the program works

Needs torch >= 2.9, torchvision and scikit-learn alone; pixels are random where no ``--dataset`` is given (speed does not depend
on them). The limits are those of an H100 for the full size: 0.42 s per epoch by arithmetic, 0.9 s by memory traffic. Several
trials on one device run as processes at once, against one alone. Every contender has a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from contenders import lightly, our_trainer, ours, plain, versions
from torch import Tensor

from trainer.pretrain import Pretrainer
from trainer.step import set_up_gpu, with_number

LIMITS = {"arithmetic": 0.42, "memory": 0.9}  # s per epoch of 50,000 images, ResNet-18, two views, on an H100
FULL = 50_000
TOGETHER_S = 300  # for trials at once, from the moment that all are ready
Other = Callable[..., Iterator[Tensor]]
OTHERS: dict[str, Other] = {"plain": plain, "lightly": lightly}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_epoch(steps: Iterator[Tensor], per_epoch: int, measured: int, warm: int, device: torch.device) -> float:
    """Of an epoch of ``per_epoch`` steps, from ``measured`` of them after ``warm`` that are not counted."""
    for _ in range(warm):
        next(steps)
    wait(device)
    began = time.perf_counter()
    for _ in range(measured):
        loss = next(steps)
    value = float(loss)
    wait(device)
    assert value == value, "the loss is not a number"
    return (time.perf_counter() - began) / measured * per_epoch


def our_epochs(trainer: Pretrainer, epochs: int) -> list[float]:
    """Seconds of whole epochs, diagnostics included, the first (kernels chosen, the graph captured) left out."""
    seconds = []
    for _ in range(epochs + 1):
        wait(trainer.device)
        began = time.perf_counter()
        trainer.train_epoch()
        wait(trainer.device)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def breakdown(trainer: Pretrainer, steps: int = 10, rows: int = 12) -> list[dict[str, Any]]:
    """Where the time of some steps goes, as torch.profiler has it: on a GPU its kernels alone, on a CPU the operators."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = trainer.device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    made = ours(trainer)
    next(made)
    with profile(activities=kinds) as profiler:
        for _ in range(min(steps, max(1, trainer.steps - 1))):
            next(made)
        wait(trainer.device)
    on = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    wanted = "CUDA" if on_gpu else "CPU"  # an operator's time on the device is that of its kernels again
    # An optimiser's step is marked as a whole, beside its kernels.
    kernels = [e for e in profiler.key_averages() if e.device_type.name == wanted and not e.key.startswith("Optimizer.")]
    events = sorted(kernels, key=lambda e: -getattr(e, on))
    total = sum(getattr(e, on) for e in events) or 1
    return [{"what": e.key[:90], "share": round(getattr(e, on) / total, 3), "calls": e.count} for e in events[:rows]]


def command_of(arguments: argparse.Namespace) -> list[str]:
    """The command of a process that measures one contender with the same settings."""
    command = [sys.executable, __file__, "--device", arguments.device, "--images", str(arguments.images)]
    command += ["--width", str(arguments.width), "--batch-size", str(arguments.batch_size), "--epochs", str(arguments.epochs)]
    command += ["--objective", arguments.objective, "--steps", str(arguments.steps)]
    return command + (["--dataset", arguments.dataset] if arguments.dataset else [])


def together(arguments: argparse.Namespace, trials: int) -> dict[str, Any]:
    """Images per second of ``trials`` processes at once on the device."""
    command = [*command_of(arguments), "--contender", "one"]
    environment = dict(os.environ)
    if arguments.device == "cpu":  # cores are shared out, as the sweep does
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // trials))
    piped = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=piped, stdout=piped, text=True, env=environment) for _ in range(trials)]
    for process in started:  # all have compiled, captured and trained an epoch before any is measured
        assert process.stdout
        process.stdout.readline()
    for process in started:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):  # one that has failed
            process.stdin.write("go\n")
            process.stdin.flush()
    try:
        answers = [process.communicate(timeout=TOGETHER_S)[0] for process in started]
    except subprocess.TimeoutExpired:
        for process in started:
            process.kill()
        return {"trials": trials, "failed": f"no end after {TOGETHER_S} s"}
    if any(process.returncode for process in started):
        return {"trials": trials, "failed": True}
    epochs = [statistics.median(json.loads(answer.splitlines()[-1])["s_per_epoch"]) for answer in answers]
    return {
        "trials": trials,
        "s_per_epoch": [round(e, 3) for e in epochs],
        "images_per_s": round(sum(arguments.images / e for e in epochs), 1),
    }


def peaks(device: torch.device) -> dict[str, float]:
    """Peak memory of this process on the GPU, in GB: what its tensors took, and what PyTorch held for them."""
    if device.type != "cuda":
        return {}
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return {"peak_allocated_gb": round(allocated / 1e9, 2), "peak_reserved_gb": round(reserved / 1e9, 2)}


def measure_ours(arguments: argparse.Namespace, images: Tensor, device: torch.device) -> dict[str, Any]:
    """Our trainer's seconds per epoch, memory and breakdown."""
    if device.type == "cuda":
        set_up_gpu(device)  # as a trial does
    trainer = our_trainer(
        images, "cifar10", arguments.batch_size, arguments.width, device,
        epochs=arguments.epochs + 1, objective=arguments.objective,
    )  # fmt: skip
    epochs = our_epochs(trainer, arguments.epochs)
    middle = statistics.median(epochs)
    result: dict[str, Any] = {
        "s_per_epoch": [round(f(epochs), 4) for f in (min, statistics.median, max)],
        "n": len(epochs),
        "images_per_s": round(len(images) / middle, 1),
        **peaks(device),
        "numerics": list(trainer.numerics),
        "engine": trainer.engine,
    }
    if device.type == "cuda" and arguments.width == 64:
        scaled = middle * FULL / len(images)
        result["share_of_limit"] = {name: round(limit / scaled, 3) for name, limit in LIMITS.items()}
    return {**result, "breakdown": breakdown(trainer)}


def measure_other(
    make: Callable[..., Iterator[Tensor]], arguments: argparse.Namespace, images: Tensor, device: torch.device
) -> Any:
    """Another trainer's seconds per epoch and memory."""
    per_epoch = len(images) // arguments.batch_size
    steps = make(images, arguments.batch_size, arguments.width, device)
    seconds = seconds_per_epoch(steps, per_epoch, min(arguments.steps, per_epoch), min(10, per_epoch), device)
    return {"s_per_epoch": round(seconds, 3), "images_per_s": round(len(images) / seconds, 1), **peaks(device)}


def measure_one(arguments: argparse.Namespace, images: Tensor, device: torch.device) -> dict[str, Any]:
    """Our trainer's seconds per epoch beside other processes that began with it."""
    if device.type == "cuda":
        set_up_gpu(device)
    trainer = our_trainer(
        images, "cifar10", arguments.batch_size, arguments.width, device, epochs=10**6, objective=arguments.objective
    )
    trainer.train_epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    return {"s_per_epoch": our_epochs(trainer, arguments.epochs)}


def in_a_process(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Measure a contender in a process of its own, so that none holds memory that another is charged for."""
    done = subprocess.run([*command_of(arguments), "--contender", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole comparison, a process per contender."""
    mine = in_a_process(arguments, "alphacl")
    result: dict[str, Any] = {"alphacl": mine, "breakdown": mine.pop("breakdown", [])}
    for name in OTHERS:
        if name == "lightly" and not versions()["lightly"]:
            print("lightly is not installed: skipped (pip install lightly==1.6.0)", flush=True)
            continue
        result[name] = in_a_process(arguments, name)
        if "failed" not in (*mine, *result[name]):
            result[name]["ratio_over_alphacl"] = round(result[name]["s_per_epoch"] / mine["s_per_epoch"][1], 2)
    result["together"] = [together(arguments, trials) for trials in arguments.together]
    return result


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu, which only shows that the program works")
    parser.add_argument("--dataset", help="a dataset of trainer.data; random pixels when not given")
    parser.add_argument("--images", type=int, default=FULL, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18 (default: %(default)s)")
    parser.add_argument("--objective", default="infonce", help="of ours (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of ours that are measured (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="of the others that are measured (default: %(default)s)")
    parser.add_argument("--together", type=int, nargs="*", default=[1, 2, 4], help="trials at once (default: 1 2 4)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the result here too")
    parser.add_argument("--contender", choices=("alphacl", "one", *OTHERS), help=argparse.SUPPRESS)  # what this process measures
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and print it as JSON; 2 where the device is not there."""
    arguments = parse(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            "benchmarks/gpu.py: error: no CUDA GPU here; --device cpu --images 512 --width 8 shows that the program works",
            file=sys.stderr,
        )
        return 2
    device = with_number(device)
    torch.manual_seed(0)
    if arguments.dataset:
        from trainer.data import load

        images = load(arguments.dataset)["train_images"][: arguments.images]
    else:
        images = torch.randint(0, 256, (arguments.images, 3, 32, 32), dtype=torch.uint8)
    if arguments.contender:
        own = {"alphacl": measure_ours, "one": measure_one}
        measure = own.get(arguments.contender) or functools.partial(measure_other, OTHERS[arguments.contender])
        print(json.dumps(measure(arguments, images, device)))
        return 0
    result = compare(arguments)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU, {os.cpu_count()} cores"
    label = "" if device.type == "cuda" else "a CPU at toy size: shows that the program works, not how fast anything is"
    settings = {k: getattr(arguments, k) for k in ("images", "batch_size", "width", "epochs", "objective")}
    result = {
        "machine": name,
        **({"label": label} if label else {}),
        "versions": versions(),
        "python": platform.python_version(),
        "settings": settings,
        **result,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
