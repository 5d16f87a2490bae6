"""A short soak (`make soak` is the long one): started, stopped and killed in random order under load, nothing is lost."""

from pathlib import Path

from tests.soak import soak


def test_started_stopped_and_killed_in_random_order_it_loses_nothing(tmp_path: Path, cache_dir: Path) -> None:
    done: list[str] = []
    run = soak(tmp_path, cache_dir, pages=60, actions=8, seed=0, say=done.append)
    assert len(done) == 8
    assert {"start", "stop", "kill", "restart"} <= run.took.keys()
