"""What is remembered of a lane stays bounded, and forgets only on the safe side."""

from __future__ import annotations

from pumpwatch.stores.lanes import KEPT_RANGES, LaneRecord


def test_a_sender_that_leaves_holes_for_ever_fills_no_memory_and_moves_no_watermark() -> None:
    lane, on_disk = LaneRecord(), dict[int, int]()
    lane.add(1, 1)
    for seq in range(3, 10 * KEPT_RANGES, 2):
        assert lane.add(seq, 1)
        for first, last in lane.take_changes().items():
            if last is None:
                on_disk.pop(first, None)
            else:
                on_disk[first] = last
    assert lane.watermark == 1
    assert len(on_disk) <= KEPT_RANGES
    again = LaneRecord(lane.watermark, on_disk.items())
    assert not again.add(1, 1), "what is covered is known for ever"


def test_what_was_forgotten_is_taken_again_until_the_watermark_covers_it() -> None:
    lane = LaneRecord()
    lane.add(1, 1)
    for seq in range(3, 3 * KEPT_RANGES, 2):
        lane.add(seq, 1)
    assert lane.add(3, 1), "it counts as never seen"
    for seq in range(1, 3 * KEPT_RANGES):  # the sender fills its holes, oldest first
        lane.add(seq, 1)
    assert lane.watermark == 3 * KEPT_RANGES - 1
    assert not lane.add(3, 1)
