"""A short soak (`make soak` is the long one): started, stopped and killed in random order under load, nothing is lost."""

from pathlib import Path

from tests.soak import soak


def test_started_stopped_and_killed_in_random_order_it_loses_nothing(tmp_path: Path, cache_dir: Path) -> None:
    done: list[str] = []
    # this seed: start, again, kill, stop where nothing runs, start twice where nothing runs, restart; the soak ends with a stop
    run = soak(tmp_path, cache_dir, pages=40, actions=6, seed=52, say=done.append)
    assert len(done) == 6
    assert {"start", "start_twice", "stop", "kill", "restart"} == run.took.keys()
