"""Files that lines are appended to, whatever happens to them."""

import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from monitoring.instrument import linefile
from monitoring.instrument.linefile import LineFile


def append(path, number):
    log = LineFile(path)
    for _ in range(500):
        log.write(f"{number}" * 300 + "\n")


def test_lines_of_many_processes_never_mix(tmp_path):
    path = str(tmp_path / "trace.log")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = Path(path).read_text().splitlines()
    assert len(lines) == 2000
    assert set(lines) == {f"{number}" * 300 for number in range(4)}


@pytest.mark.parametrize("path", ["/nowhere/at/all/trace.log", "/dev/full"])
def test_a_log_that_cannot_be_written_is_said_once(path, caplog):
    log = LineFile(path)
    log.write("one\n")
    log.write("two\n")
    assert caplog.text.count("cannot be written") == 1


def test_standard_output(capfd):
    LineFile("-").write("a line\n")
    assert capfd.readouterr().out == "a line\n"


def test_the_file_is_not_inherited_by_programs_the_service_starts(tmp_path):
    log = LineFile(str(tmp_path / "trace.log"))
    log.write("x\n")
    assert os.get_inheritable(log._descriptor) is False


@pytest.fixture
def every_write_looks(monkeypatch):
    """As if each write came more than a millisecond after the one before."""
    monkeypatch.setattr(linefile, "_BURST", 0.0)


def test_after_logrotate_a_new_file_is_made(tmp_path, every_write_looks):
    path = tmp_path / "trace.log"
    log = LineFile(str(path))
    log.write("one\n")
    path.rename(tmp_path / "trace.log.1")
    log.write("two\n")
    path.unlink()
    log.write("three\n")
    assert (tmp_path / "trace.log.1").read_text() == "one\n"
    assert path.read_text() == "three\n"
    assert os.get_inheritable(log._descriptor) is False


def test_logrotate_that_makes_the_new_file_itself_and_one_that_copies(tmp_path, every_write_looks):
    path = tmp_path / "trace.log"
    log = LineFile(str(path))
    log.write("one\n")
    path.rename(tmp_path / "trace.log.1")
    path.touch(0o640)
    log.write("two\n")
    assert path.read_text() == "two\n"
    os.truncate(path, 0)
    log.write("three\n")
    assert path.read_text() == "three\n"


def test_rotation_loses_no_line_of_any_thread(tmp_path, every_write_looks):
    path = tmp_path / "trace.log"
    log = LineFile(str(path))
    log.write("0\n")

    def work():
        for _ in range(500):
            log.write("x" * 100 + "\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        if path.exists():
            path.rename(tmp_path / f"trace.log.{number}")
    for thread in threads:
        thread.join()
    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert sorted(lines) == ["0"] + ["x" * 100] * 2000


def test_a_folder_that_comes_back_gets_lines_again_and_the_next_loss_is_said_again(tmp_path, caplog, every_write_looks):
    folder = tmp_path / "logs"
    log = LineFile(str(folder / "trace.log"))
    log.write("lost\n")
    folder.mkdir()
    log.write("kept\n")
    assert (folder / "trace.log").read_text() == "kept\n"
    (folder / "trace.log").unlink()
    folder.rmdir()
    log.write("lost\n")
    log.write("lost\n")
    assert caplog.text.count("cannot be written") == 2


def test_a_line_that_a_full_disk_cut_off_does_not_swallow_the_next(tmp_path, caplog, monkeypatch):
    path = tmp_path / "trace.log"
    log = LineFile(str(path))
    whole = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:3]))
        log.write("a line\n")
    log.write("the next\n")
    assert path.read_text() == "a l\nthe next\n"
    assert "only 3 of 7 bytes" in caplog.text


def test_a_pipe_that_nobody_reads_costs_the_line_and_no_time(tmp_path, caplog):
    os.mkfifo(tmp_path / "pipe")
    LineFile(str(tmp_path / "pipe")).write("a line\n")
    assert "cannot be written" in caplog.text
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_child_appends_to_the_same_file(tmp_path):
    path = tmp_path / "trace.log"
    log = linefile.shared(str(path))
    log.write("parent\n")
    with log._opening:  # as if another thread were opening it
        child = os.fork()
        if child == 0:
            path.unlink()
            log._written_at = 0.0
            log.write("child\n")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert path.read_text() == "child\n"


def test_what_utf_8_cannot_carry_is_escaped(tmp_path):
    log = LineFile(str(tmp_path / "trace.log"))
    log.write("\udc80\n")
    assert (tmp_path / "trace.log").read_text() == "\\udc80\n"
