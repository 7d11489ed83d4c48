from __future__ import annotations

from monitoring.collector.progressline import ProgressLine, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(terminal: bool) -> tuple[ProgressLine, list[str], Clock]:
    written: list[str] = []
    clock = Clock()
    return ProgressLine(written.append, terminal, "points", clock), written, clock


def test_a_terminal_has_one_line_that_changes_now_and_then() -> None:
    line, written, clock = shown(terminal=True)
    line.show(0, 1000, "shop")
    for done in range(10, 90, 10):
        clock.now += 0.0625
        line.show(done, 1000, "shop")
    assert written[0] == "\r  0%  0 of 1,000 points  shop\x1b[K"
    assert written[1] == "\r  4%  40 of 1,000 points  160/s  6 s left  shop\x1b[K"
    assert len(written) == 3
    line.clear()
    line.clear()
    assert written[3:] == ["\r\x1b[K"]


def test_a_log_has_a_line_each_tenth() -> None:
    line, written, clock = shown(terminal=False)
    for done in range(1001):
        clock.now += 0.01
        line.show(done, 1000, "shop")
    line.clear()
    assert len(written) == 10
    assert written[0] == "10%  100 of 1,000 points  99/s  9 s left\n"
    assert written[-1] == "100%  1,000 of 1,000 points  100/s  0 s left\n"


def test_more_than_was_counted_is_not_more_than_all() -> None:
    line, written, clock = shown(terminal=False)
    clock.now += 1
    line.show(1100, 1000)
    assert written == ["100%  1,100 of 1,100 points  1,100/s  0 s left\n"]


def test_durations() -> None:
    assert [duration(one) for one in (0.4, 59, 61, 3599, 7500)] == ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "2 h 5 min"]
