"""Images as batches: picked without copying, resident or streamed."""

import threading

import pytest
import torch

from trainer.image_store import AHEAD, Rows, Store, image_budget, stores

CPU = torch.device("cpu")


def pictures(n=20):
    return torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2)


def test_rows_are_picked_from_several_arrays_in_any_order(seed):
    rows = Rows((pictures(20), torch.tensor([3, 1, 4, 15])), (pictures(10) + 100, None))
    assert rows.shape == (14, 1, 2, 2)
    expected = torch.tensor([3, 1, 4, 15, *range(100, 110)])
    places = torch.randperm(14)
    assert torch.equal(rows.take(places)[:, 0, 0, 0], expected[places].to(torch.uint8))
    assert torch.equal(rows.whole()[:, 0, 0, 0], expected.to(torch.uint8))
    assert rows.bytes == 14 * 4


def test_streamed_batches_are_those_of_memory(seed):
    store, order = Store(pictures(), CPU), torch.randperm(20)
    streamed, direct = list(store.stream(order.split(6))), list(store.batches(order, 6))
    assert [len(b) for b in streamed] == [6, 6, 6, 2]
    assert all(torch.equal(a, b) for a, b in zip(streamed, direct, strict=True))


def gatherers():
    return [t for t in threading.enumerate() if t.name == "gather images"]


def test_a_reader_that_stops_early_leaves_no_thread():
    stream = Store(pictures(), CPU).stream(torch.arange(20).split(1))
    next(stream)
    stream.close()
    for thread in gatherers():
        thread.join(timeout=5)
    assert gatherers() == []
    assert AHEAD < 20


def test_an_error_while_gathering_reaches_the_reader():
    with pytest.raises(IndexError):
        list(Store(pictures(), CPU).stream([torch.tensor([1]), torch.tensor([99])]))


@pytest.mark.parametrize(("free", "share", "expected"), [(80, 1.0, 40), (80, 0.25, 10), (30, 1.0, 15), (79, 0.5, 20)])
def test_the_budget_for_images_is_a_share_of_the_whole_card(monkeypatch, free, share, expected):
    """Two trials on a card of 80 that begin at once must not both take half of what is free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80))
    assert image_budget(torch.device("cuda", 0), share) == expected
    assert image_budget(CPU, share) == 0


def test_the_images_of_all_splits_together_stay_within_the_budget():
    """On the device 'meta', which like a GPU takes what fits: of 20, 20 and 5 images the second waits outside."""
    made = stores([pictures(20), pictures(20), pictures(5)], torch.device("meta"), budget=25 * 4)
    assert [store.resident_bytes for store in made] == [80, 0, 20]
    assert [store.resident is None for store in made] == [False, True, False]
