"""Work that goes on beside other work: in order, so far ahead and no further, and nothing of it lost or left behind."""

import threading

import pytest

from mert_hf.common.threads import map_ahead


def test_results_come_in_order_and_are_begun_before_they_are_asked_for():
    begun = [threading.Event() for _ in range(6)]

    def work(number: int) -> int:
        begun[number].set()
        return number * number

    found = []
    for number, result in enumerate(map_ahead(work, range(6), 2)):
        # while this one is in use, the next ones are under way, which would wait for ever if they came after it
        for later in range(number + 1, min(number + 3, 6)):
            assert begun[later].wait(10)
        found.append(result)
    assert found == [0, 1, 4, 9, 16, 25]
    assert list(map_ahead(work, [], 2)) == []


def test_no_more_is_drawn_than_is_held():
    drawn = []

    def items():
        for number in range(100):
            drawn.append(number)
            yield number

    results = map_ahead(lambda number: number, items(), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4] and len(drawn) <= 5 + 3
    results.close()
    assert len(drawn) <= 8


def test_an_error_comes_in_its_place():
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    found = []
    with pytest.raises(ValueError, match="two"):
        for result in map_ahead(work, range(9), 4):
            found.append(result)
    assert found == [0, 1]
