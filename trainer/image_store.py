"""Stores of a split's images, which give batches on a device: resident there as uint8 where they fit, else streamed.

On a CPU nothing is copied: a batch is gathered from the memory map that all trials of the machine share. On a GPU the
images live there whole when they take no more than ``budget`` bytes; a larger set is gathered by a thread from memory or the
cache into pinned memory and copied while the GPU computes on the batches before.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

AHEAD = 3  # batches gathered before they are asked for


class Rows:
    """Images (N, C, H, W) picked from larger arrays without copying them; ``parts`` are (array, indices or None for all)."""

    def __init__(self, *parts: tuple[Tensor, Tensor | None]) -> None:
        self.parts = parts
        sizes = [len(source) if index is None else len(index) for source, index in parts]
        self.starts = list(itertools.accumulate(sizes, initial=0))
        self.shape = (self.starts[-1], *parts[0][0].shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def bytes(self) -> int:
        """Return the size of the picked images in bytes."""
        return len(self) * self.parts[0][0][:1].numel() * self.parts[0][0].element_size()

    def take(self, places: Tensor) -> Tensor:
        """Return the images at these places, in that order: a copy, (len(places), C, H, W)."""
        if len(self.parts) == 1:
            return self._pick(0, places)
        out = torch.empty((len(places), *self.shape[1:]), dtype=self.parts[0][0].dtype)
        for number, start in enumerate(self.starts[:-1]):
            here = (places >= start) & (places < self.starts[number + 1])
            if here.any():
                out[here] = self._pick(number, places[here] - start)
        return out

    def _pick(self, number: int, places: Tensor) -> Tensor:
        source, index = self.parts[number]
        return source[places if index is None else index[places]]

    def whole(self) -> Tensor:
        """Return all images as one tensor, (N, C, H, W)."""
        return self.take(torch.arange(len(self)))


def image_budget(device: torch.device, share: float = 1.0) -> float:
    """Return the most bytes of a trial's images that may stay on a device: half of the trial's share of the GPU's memory.

    What is free now counts where it is less; on a CPU nothing is copied, and the budget means nothing.

    Args:
        device: where batches are wanted.
        share: the part of the GPU that the trial was given; others that share the card may not have taken theirs yet.
    """
    if device.type == "cpu":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return min(free, share * total) / 2


class Store:
    """A split's images, from which batches on ``device`` are taken.

    Args:
        images: the split, uint8 (N, C, H, W).
        device: where batches are wanted.
        budget: the most bytes that may stay on the device; :func:`image_budget` of the whole device when not given.
    """

    def __init__(self, images: Rows | Tensor, device: torch.device, budget: float | None = None) -> None:
        self.rows = images if isinstance(images, Rows) else Rows((images, None))
        self.device, self.resident = device, None
        if device.type != "cpu":
            fits = self.rows.bytes <= (image_budget(device) if budget is None else budget)
            self.resident = self.rows.whole().to(device) if fits else None
        self.shape = self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def resident_bytes(self) -> int:
        """Return how many bytes of the device's memory the images take."""
        return 0 if self.resident is None else self.rows.bytes

    def batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Yield the images in this order, ``size`` at a time (the last batch may be smaller), on the device."""
        if self.resident is not None:
            for places in order.to(self.device).split(size):
                yield self.resident[places]
        elif self.device.type == "cpu":
            for places in order.split(size):
                yield self.rows.take(places)
        else:
            yield from self.stream(order.cpu().split(size))

    def stream(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield batches that a thread gathers, at most ``AHEAD`` of them waiting; the thread's errors are raised here.

        ``parts`` are the places of each batch's images.
        """
        ready: queue.Queue[tuple[Tensor, torch.cuda.Event | None] | BaseException | None] = queue.Queue(AHEAD)
        stop = threading.Event()
        copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # beside the steps, not between them

        def gather() -> None:
            try:
                for places in parts:
                    batch, copied = self.rows.take(places), None
                    if copies is not None:
                        # The pinned batch may be freed at once: PyTorch keeps its memory until the copy has been made.
                        with torch.cuda.stream(copies):
                            batch, copied = batch.pin_memory().to(self.device, non_blocking=True), copies.record_event()
                    ready.put((batch, copied))
                    if stop.is_set():
                        return
                ready.put(None)
            except BaseException as error:  # noqa: BLE001 - handed over to the reader
                ready.put(error)

        thread = threading.Thread(target=gather, daemon=True, name="gather images")
        thread.start()
        try:
            while (found := ready.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                batch, copied = found
                if copied is not None:
                    steps = torch.cuda.current_stream(self.device)
                    steps.wait_event(copied)
                    batch.record_stream(steps)
                yield batch.to(self.device)
        finally:
            stop.set()
            while not ready.empty():
                ready.get()


def stores(splits: Iterable[Rows | Tensor], device: torch.device, budget: float) -> list[Store]:
    """Return the stores of several splits, whose images take no more than ``budget`` bytes of the device's memory together.

    The first come first: what does not fit beside them is streamed.
    """
    made: list[Store] = []
    for images in splits:
        made.append(Store(images, device, budget))
        budget -= made[-1].resident_bytes
    return made
