"""The bounded cache keeps what is used and drops the rest."""

from __future__ import annotations

from serving_client.router.recent import Recent


def test_it_keeps_the_keys_used_last_and_at_most_twice_the_size():
    cache = Recent(10)
    for number in range(1_000):
        cache.put(number, str(number))
        assert cache.get(0) == "0"  # used all the time
        assert len(cache.keys()) <= 20
    assert {*range(991, 1_000)} <= set(cache.keys())
    assert cache.get(500) is None


def test_a_key_that_nobody_used_gives_way_to_keys_in_use():
    cache = Recent(2)
    for key in ("a", "b", "c"):
        cache.put_unused(key, 1)
    assert cache.keys() == ["a", "b"]  # the size is 2
    cache.get("b")
    assert cache.keys() == ["b", "a"]
    cache.put("x", 1)
    cache.put("y", 1)
    assert cache.keys() == ["y", "b", "x"]
