"""How fast a host is asked: the pace by itself, and the turns that the pacer gives, with a clock of the test's own."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from docworker.crawl.pacing import LONGEST_CRAWL_DELAY_S, PATIENCE_S, Held, Pace, Pacer

SITE = "https://docs.example"
LONGEST_PAUSE_S = 60.0


class Clock:
    """Time that passes only while somebody sleeps, or by `later`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._yield = asyncio.sleep

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float) -> float:
        self.now += seconds
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await self._yield(0)
        self.now = max(self.now, until)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(asyncio, "sleep", made.sleep)
    return made


async def settle() -> None:
    """Let every task that can go on do so; nobody sleeps."""
    for _ in range(50):
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        await event.wait()


def overload(pace: Pace, clock: Clock, times: int) -> None:
    """Say that it is too much, `times` times, each after the pause that the last one led to."""
    for _ in range(times):
        pace.overloaded(clock.later(max(pace.pause_s, 0.001)))


# -- one host's pace


def test_the_base_pause_is_kept_between_two_begins() -> None:
    pace = Pace(0.2)
    assert pace.wait_s(10.0) == 0
    pace.started(10.0)
    assert pace.wait_s(10.0) == pytest.approx(0.2)
    assert pace.wait_s(10.15) == pytest.approx(0.05)
    assert pace.wait_s(10.2) == pytest.approx(0)
    assert pace.wait_s(99.0) == 0


def test_good_answers_do_not_shorten_the_base_pause() -> None:
    pace = Pace(0.2)
    for number in range(100):
        pace.started(float(number))
        pace.answered(0.01, number + 0.01)
    assert pace.wait_s(99.0) == pytest.approx(0.2)


def test_an_overloaded_host_is_asked_half_as_often_each_time_down_to_once_a_minute() -> None:
    pace, clock, pauses = Pace(0.2), Clock(), []
    for _ in range(12):
        overload(pace, clock, 1)
        pauses.append(pace.pause_s)
        pace.started(clock.now)
        assert pace.wait_s(clock.now) == pytest.approx(pace.pause_s)
    assert pauses[0] >= 0.4
    assert all(b == pytest.approx(min(2 * a, LONGEST_PAUSE_S)) for a, b in pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE_S


def test_an_overloaded_host_without_a_base_pause_gets_one() -> None:
    pace = Pace(0.0)
    pace.overloaded(5.0)
    pace.started(5.0)
    assert pace.wait_s(5.0) > 0


@pytest.mark.parametrize("under_way", [1, 4])
def test_an_overload_delays_the_very_next_request(under_way: int) -> None:
    pace = Pace(0.0)
    for _ in range(under_way):
        pace.started(5.0)
    for _ in range(under_way):
        pace.overloaded(5.1)
    assert pace.wait_s(5.1) > 0


def test_an_overloaded_host_is_asked_less_often_than_its_crawl_delay() -> None:
    pace = Pace(7.0)
    pace.overloaded(5.0)
    pace.started(5.0)
    assert pace.wait_s(5.0) == pytest.approx(14.0)


def test_several_answers_to_requests_under_way_together_count_once() -> None:
    one, four = Pace(0.0), Pace(0.0)
    one.overloaded(5.0)
    for number in range(4):
        four.overloaded(5.0 + number / 100)
    assert four.pause_s == one.pause_s
    four.overloaded(5.0 + one.pause_s)
    assert four.pause_s == 2 * one.pause_s


def test_a_host_recovers_with_every_good_answer_down_to_its_base() -> None:
    pace, clock = Pace(0.2), Clock()
    overload(pace, clock, 8)
    slowest, pauses = pace.pause_s, []
    assert slowest > 10
    for _ in range(60):
        pace.answered(0.05, clock.later(pace.pause_s))
        pauses.append(pace.pause_s)
    assert all(b < a or b == 0 for a, b in pairwise([slowest, *pauses]))
    pace.started(clock.now)
    assert pace.wait_s(clock.now) == pytest.approx(0.2)


def test_a_single_good_answer_does_not_undo_an_overload() -> None:
    pace, clock = Pace(0.0), Clock()
    overload(pace, clock, 5)
    slowest = pace.pause_s
    pace.answered(0.05, clock.later(1))
    assert slowest / 2 < pace.pause_s < slowest


@pytest.mark.parametrize("latency_s", [0.001, 0.1, 3.0, 15.0])
def test_a_steady_latency_does_not_slow_however_long(latency_s: float) -> None:
    pace, clock = Pace(0.0), Clock()
    for _ in range(200):
        pace.answered(latency_s, clock.later(latency_s))
        assert pace.pause_s == 0


def test_a_latency_that_jitters_about_its_mean_does_not_slow() -> None:
    pace, clock = Pace(0.0), Clock()
    for number in range(200):
        pace.answered((0.1, 0.2, 0.15, 0.3)[number % 4], clock.later(0.3))
        assert pace.pause_s == 0


def test_a_rising_latency_slows_and_ever_more_while_it_lasts() -> None:
    pace, clock = Pace(0.0), Clock()
    for _ in range(50):
        pace.answered(0.1, clock.later(0.1))
    pauses = []
    for number in range(1, 6):
        pace.answered(0.1 + number, clock.later(number))
        pauses.append(pace.pause_s)
    assert pauses[-1] > 1
    assert pauses == sorted(pauses)
    for _ in range(200):
        pace.answered(0.1, clock.later(0.1))
    assert pace.pause_s == 0


def test_a_latency_that_rises_without_end_is_bounded() -> None:
    pace, clock, longest = Pace(0.0), Clock(), 0.0
    for number in range(200):
        pace.answered(1.1**number, clock.later(1))
        longest = max(longest, pace.pause_s)
    assert longest == LONGEST_PAUSE_S


def test_retry_after_holds_until_it_is_over_and_a_shorter_one_does_not_shorten_it() -> None:
    pace = Pace(0.0)
    pace.overloaded(100.0, 20.0)
    assert pace.wait_s(100.0) == pytest.approx(20.0)
    pace.overloaded(105.0, 1.0)
    assert pace.wait_s(105.0) == pytest.approx(15.0)
    pace.overloaded(106.0, 30.0)
    assert pace.wait_s(106.0) == pytest.approx(30.0)
    pace.answered(0.01, 110.0)
    assert pace.wait_s(110.0) == pytest.approx(26.0)
    assert pace.wait_s(136.0) == 0


def test_retry_after_counts_also_of_answers_that_do_not_count_as_another_overload() -> None:
    pace = Pace(0.0)
    pace.overloaded(100.0)
    slowed = pace.pause_s
    pace.overloaded(100.1, 20.0)
    assert pace.pause_s == slowed
    assert pace.wait_s(100.1) == pytest.approx(20.0)


def test_only_good_answers_are_noted_as_such() -> None:
    pace = Pace(0.0)
    assert pace.answered_at < -1e9
    pace.overloaded(5.0)
    assert pace.answered_at < -1e9
    pace.answered(0.1, 7.0)
    pace.overloaded(8.0)
    assert pace.answered_at == 7.0


# -- the pacer


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "127.1.2.3", "localhost:8000", "localhost", "[::1]:8000"])
def test_loopback_has_no_base_pause(host: str, clock: Clock) -> None:
    assert Pacer(4, 0.2, clock).pace(f"http://{host}/docs").base_s == 0


@pytest.mark.parametrize("host", ["docs.example", "10.0.0.1", "[2001:db8::1]", "localhost.example", "127.example", "0.0.0.0"])
def test_every_other_host_has_the_base_pause(host: str, clock: Clock) -> None:
    assert Pacer(4, 0.2, clock).pace(f"https://{host}/docs").base_s == 0.2


async def test_begins_are_spaced_by_the_base_pause_in_order(clock: Clock) -> None:
    pacer, begins = Pacer(4, 0.2, clock), list[tuple[int, float]]()

    async def ask(number: int) -> None:
        async with pacer.slot(f"{SITE}/{number}"):
            begins.append((number, clock.now))

    await asyncio.gather(*(ask(number) for number in range(12)))
    assert sorted(number for number, _ in begins) == list(range(12))
    gaps = [b - a for (_, a), (_, b) in pairwise(begins)]
    assert min(gaps) >= 0.2 - 1e-6


async def test_begins_on_loopback_are_not_spaced(clock: Clock) -> None:
    pacer, begins = Pacer(4, 0.2, clock), list[float]()

    async def ask() -> None:
        async with pacer.slot("http://127.0.0.1:8000/"):
            begins.append(clock.now)

    await asyncio.gather(*(ask() for _ in range(12)))
    assert set(begins) == {begins[0]}


async def test_no_more_than_so_many_slots_of_a_host_are_held_at_once(clock: Clock) -> None:
    pacer, gate, held, most = Pacer(3, 0.0, clock), asyncio.Event(), 0, 0

    async def ask(number: int) -> None:
        nonlocal held, most
        async with pacer.slot(f"{SITE}/{number}"):
            held += 1
            most = max(most, held)
            await gate.wait()
            held -= 1

    tasks = [asyncio.create_task(ask(number)) for number in range(10)]
    await settle()
    assert held == 3
    gate.set()
    await asyncio.gather(*tasks)
    assert most == 3


async def test_hosts_do_not_wait_for_each_other(clock: Clock) -> None:
    pacer = Pacer(1, 0.0, clock)
    others = ["https://other.example/", "https://docs.example:8443/", "http://127.0.0.1:1/", "http://127.0.0.1:2/"]
    pacer.pace("https://held.example/").overloaded(clock.now, 1_000)
    async with pacer.slot(f"{SITE}/a"):
        waiting = asyncio.create_task(enter(pacer, f"{SITE}/b"))
        for url in others:
            await enter(pacer, url)
        await settle()
        assert not waiting.done()
    await waiting
    assert clock.now == 1_000


async def test_the_schemes_of_one_host_and_port_share_its_pace(clock: Clock) -> None:
    pacer = Pacer(1, 0.2, clock)
    assert pacer.pace("http://docs.example/a") is pacer.pace("https://docs.example/b?c")


@pytest.mark.parametrize("leave", ["error", "cancelled", "cancelled while waiting"])
async def test_a_slot_is_free_again_however_it_was_left(clock: Clock, leave: str) -> None:
    pacer, never = Pacer(1, 0.0, clock), asyncio.Event()

    async def hold() -> None:
        async with pacer.slot(SITE):
            if leave == "error":
                raise ValueError
            await never.wait()

    first = asyncio.create_task(hold())
    await settle()
    if leave == "cancelled while waiting":
        second = asyncio.create_task(enter(pacer, SITE))
        await settle()
        second.cancel()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.wait_for(enter(pacer, SITE), 5)


async def test_a_short_retry_after_is_waited_for_by_everyone(clock: Clock) -> None:
    pacer, begins = Pacer(4, 0.0, clock), list[float]()
    pacer.pace(SITE).overloaded(clock.now, PATIENCE_S)

    async def ask() -> None:
        async with pacer.slot(SITE):
            begins.append(clock.now)

    await asyncio.gather(*(ask() for _ in range(8)))
    assert min(begins) >= 1_000 + PATIENCE_S


async def test_a_retry_after_that_comes_while_others_wait_holds_them_too(clock: Clock) -> None:
    pacer = Pacer(1, 0.0, clock)
    async with pacer.slot(SITE) as pace:
        waiting = asyncio.create_task(enter(pacer, SITE, lambda: clock.now))
        await settle()
        pace.overloaded(clock.now, 20.0)
    assert await waiting >= 1_020


async def test_a_long_rest_is_not_waited_for_and_says_how_long_it_is(clock: Clock) -> None:
    pacer = Pacer(1, 0.0, clock)
    pacer.pace(SITE).overloaded(clock.now, 100.0)
    for _ in range(2):  # and the slot is free again
        with pytest.raises(Held) as caught:
            await enter(pacer, SITE)
        assert caught.value.wait_s == pytest.approx(100.0)
    clock.later(69.0)
    with pytest.raises(Held) as caught:
        await enter(pacer, SITE)
    assert caught.value.wait_s == pytest.approx(31.0)
    assert clock.now == 1_069
    clock.later(2.0)
    await enter(pacer, SITE)
    assert clock.now == pytest.approx(1_100)


async def test_a_long_pause_that_nobody_asked_for_is_waited_for(clock: Clock) -> None:
    pacer = Pacer(1, 0.0, clock)
    overload(pacer.pace(SITE), clock, 12)
    await enter(pacer, SITE)
    begin = clock.now
    await enter(pacer, SITE)
    assert clock.now - begin >= LONGEST_PAUSE_S - 1e-6


@pytest.mark.parametrize(
    ("url", "delay_s", "base_s"),
    [
        (f"{SITE}/", 3.0, 3.0),
        (f"{SITE}/", 0.05, 0.2),  # the setting is longer
        (f"{SITE}/", 0.0, 0.2),
        (f"{SITE}/", LONGEST_CRAWL_DELAY_S, 30.0),
        (f"{SITE}/", 31.0, 30.0),
        (f"{SITE}/", 86_400.0, 30.0),
        ("http://127.0.0.1:8000/", 3.0, 3.0),  # also where there is no base pause
    ],
)
async def test_a_crawl_delay_is_obeyed_up_to_thirty_seconds(clock: Clock, url: str, delay_s: float, base_s: float) -> None:
    pacer, begins = Pacer(4, 0.2, clock), list[float]()
    pacer.obey(url, delay_s)
    assert pacer.pace(url).base_s == base_s
    for _ in range(3):
        await enter(pacer, url)
        begins.append(clock.now)
    assert begins == pytest.approx([1_000, 1_000 + base_s, 1_000 + 2 * base_s])


async def test_two_docsets_of_a_host_keep_the_longer_crawl_delay(clock: Clock) -> None:
    pacer = Pacer(4, 0.2, clock)
    pacer.obey(SITE, 5.0)
    pacer.obey(f"{SITE}/other", 2.0)
    assert pacer.pace(SITE).base_s == 5.0
    assert pacer.pace("https://other.example").base_s == 0.2


async def enter(pacer: Pacer, url: str, look: Callable[[], float] = lambda: 0.0) -> float:
    """Wait for one's turn and give it back; returns what `look` saw in between."""
    async with pacer.slot(url):
        return look()
