"""The folder of counters: ended workers are folded in, once, and files do not pile up."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from monitoring.instrument import folder, metrics, statedir

PROJECT = Path(__file__).resolve().parent.parent


def worker(state_dir, program, wait=True):
    """A process with an open table on the folder, which has recorded one request of GET/."""
    prelude = f"""
        import os, sys, signal
        from pathlib import Path
        from monitoring.instrument import folder
        table = folder.open_table(Path({str(state_dir)!r}), 10)
        row = table.add_row("", "GET", "/")
        table.begin()
        table.record(row, 200, 0.0, 1.0)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(program)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if wait:
        process.communicate(timeout=60)
    return process


def counts(state_dir):
    content = folder.read_folder(state_dir)
    ended = sum(endpoint.count for endpoint, _seen in content.total.endpoints.values())
    return ended, [sum(endpoint.count for endpoint, _seen in reader.endpoints()) for reader in content.live]


def worker_files(state_dir):
    return [name for name in os.listdir(state_dir) if name.startswith("worker-")]


@pytest.fixture
def state_dir(tmp_path):
    yield tmp_path / "state"
    folder.forget_own_tables()


def test_a_worker_that_ended_is_folded_in_and_its_file_removed(state_dir):
    worker(state_dir, "")
    worker(state_dir, "os._exit(1)")
    assert counts(state_dir) == (2, [])
    assert worker_files(state_dir) == []
    assert counts(state_dir) == (2, [])


def test_kill_9_loses_nothing(state_dir):
    process = worker(state_dir, "os.kill(os.getpid(), signal.SIGKILL)")
    assert process.returncode == -9
    assert counts(state_dir) == (1, [])


def test_a_living_worker_is_read_and_left_alone_until_it_ends(state_dir):
    process = worker(state_dir, "print('ready', flush=True); sys.stdin.read()", wait=False)
    try:
        assert process.stdout.readline() == "ready\n"
        assert counts(state_dir) == (0, [1])
        assert len(worker_files(state_dir)) == 1
    finally:
        process.communicate(timeout=60)
    assert counts(state_dir) == (1, [])


def test_a_child_that_outlives_its_parent_does_not_keep_the_parents_file_alive(state_dir):
    program = """
        if os.fork() == 0:
            print("ready", os.getpid(), flush=True)
            sys.stdin.read()
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process = worker(state_dir, program, wait=False)
    try:
        assert process.stdout.readline().startswith("ready")
        process.wait(timeout=60)
        assert counts(state_dir) == (1, [])
    finally:
        process.communicate(timeout=60)


def test_recycled_workers_leave_a_bounded_number_of_files_though_nobody_reads(state_dir):
    for _ in range(12):
        worker(state_dir, "os._exit(0)")
    assert len(worker_files(state_dir)) <= 2
    assert counts(state_dir) == (12, [])


def test_a_reader_that_dies_before_it_removed_the_files_counts_nothing_twice(state_dir):
    worker(state_dir, "")
    program = "folder._remove = lambda path: os._exit(0)\nfolder.read_folder(Path(sys.argv[1]))"
    program = "import os, sys\nfrom pathlib import Path\nfrom monitoring.instrument import folder\n" + program
    subprocess.run([sys.executable, "-c", program, state_dir], cwd=PROJECT, check=True)
    assert len(worker_files(state_dir)) == 1
    assert counts(state_dir) == (1, [])
    assert worker_files(state_dir) == []


def test_readers_that_fold_at_once_count_once(state_dir):
    for _ in range(3):
        worker(state_dir, "os._exit(0)")
    program = (
        "import sys\nfrom pathlib import Path\nfrom monitoring.instrument import folder\nfolder.read_folder(Path(sys.argv[1]))"
    )
    readers = [subprocess.Popen([sys.executable, "-c", program, state_dir], cwd=PROJECT) for _ in range(4)]
    assert [reader.wait(timeout=60) for reader in readers] == [0, 0, 0, 0]
    assert counts(state_dir) == (3, [])


def test_started_at_stays_while_workers_come_and_go(state_dir):
    worker(state_dir, "")
    first = folder.read_folder(state_dir).total.started_at
    worker(state_dir, "")
    assert folder.read_folder(state_dir).total.started_at == first


def test_what_is_foreign_or_corrupt_is_left_out_and_said(state_dir, caplog):
    worker(state_dir, "")
    (state_dir / "notes.txt").write_text("not ours")
    (state_dir / "worker-1-00000000.counters").write_bytes(b"")
    (state_dir / "worker-1-00000001.counters").write_bytes(b"\xff" * 5000)
    (state_dir / "worker-1-00000002.counters").symlink_to("/etc/passwd")
    assert counts(state_dir) == (1, [])
    assert (state_dir / "notes.txt").read_text() == "not ours"
    assert caplog.text.count("are dropped") == 2
    assert "left out" in caplog.text


def test_an_unreadable_total_starts_anew_and_is_kept_aside(state_dir, caplog):
    worker(state_dir, "")
    before = folder.read_folder(state_dir).total.started_at
    (state_dir / "total.json").write_text('{"metrics": {')
    content = folder.read_folder(state_dir)
    assert content.total.endpoints == {}
    assert content.total.started_at > before
    assert (state_dir / "total.json.unreadable").exists()
    assert "start anew" in caplog.text
    json.loads((state_dir / "total.json").read_text())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_is_refused(state_dir):
    state_dir.mkdir(mode=0o700)
    os.chown(state_dir, 65534, 65534)
    with pytest.raises(statedir.FolderError, match="belongs to another user"):
        folder.open_table(state_dir, 10)


def test_a_folder_that_others_can_write_to_is_refused(state_dir):
    state_dir.mkdir()
    state_dir.chmod(0o777)
    with pytest.raises(statedir.FolderError, match="STATE_DIR"):
        folder.open_table(state_dir, 10)


def test_a_planted_link_is_refused(state_dir, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    state_dir.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(statedir.FolderError, match="is a link"):
        folder.open_table(state_dir, 10)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_where_no_folder_can_be_made_metrics_stay_in_memory_and_say_so_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    kept = metrics.RequestMetrics("shop", tmp_path / "file" / "state", 10)
    table = kept.open()
    table.record(kept.find_row("", "GET", "/"), 200, 0.0, 1.0)
    assert kept.snapshot().endpoints["GET/"].count == 1
    assert kept.snapshot().workers == 1
    assert "one worker process alone" in kept.snapshot().warning
    assert caplog.text.count("kept in this process's memory") == 1


def test_the_default_folder_is_the_users_projects_and_services(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shop = statedir.default_folder("/srv/a", "shop")
    assert shop.parent == tmp_path / "django-monitoring"
    assert len({shop, statedir.default_folder("/srv/b", "shop"), statedir.default_folder("/srv/a", "till")}) == 3
    assert "/" not in statedir.default_folder("/srv/a", "../../x").name
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/root/not/to/be/searched")
    monkeypatch.setattr(statedir, "_may", lambda path, mode: False)
    assert statedir.default_folder("/srv/a", "shop").parent.name == f"django-monitoring-{os.geteuid()}"


def test_a_forked_child_opens_a_table_of_its_own(state_dir):
    program = """
        from monitoring.instrument import metrics
        shop = metrics.RequestMetrics("shop", Path(sys.argv[1]), 10)

        def request():
            table = shop.open()
            table.begin()
            table.record(shop.find_row("", "GET", "/"), 200, 0.0, 1.0)

        request()
        if os.fork() == 0:
            for _ in range(100):
                request()
            os._exit(0)
        for _ in range(100):
            request()
        os.wait()
        print(shop.snapshot().endpoints["GET/"].count, shop.snapshot().workers)
    """
    program = "import os, sys\nfrom pathlib import Path\n" + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", program, state_dir], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "201 1\n"


def test_two_stores_of_one_process_on_one_folder(state_dir):
    stores = [metrics.RequestMetrics("shop", state_dir, 10) for _ in range(2)]
    for store in stores:
        store.open().record(store.find_row("", "GET", "/"), 200, 0.0, 1.0)
    assert [store.snapshot().endpoints["GET/"].count for store in stores] == [2, 2]
    assert counts(state_dir) == (0, [1, 1])


def test_an_endpoint_that_was_idle_for_long_leaves(state_dir):
    program = """
        import time
        from monitoring.instrument.store import IDLE_SECONDS
        old = table.add_row("old", "GET", "/old")
        now = time.perf_counter()
        table.record(old, 200, now - IDLE_SECONDS - 10, now - IDLE_SECONDS - 5)
        table.record(row, 200, now - 1, now)
    """
    worker(state_dir, program)
    assert set(folder.read_folder(state_dir).total.endpoints) == {"GET/"}
    shop = metrics.RequestMetrics("shop", state_dir, 10)
    now = time.perf_counter()
    shop.open().record(shop.find_row("new", "GET", "/new"), 200, now - 1, now)
    shop.open().record(shop.find_row("old", "GET", "/old"), 200, now - 9 * 86400, now - 8 * 86400)
    assert set(shop.snapshot().endpoints) == {"GET/", "GET/new"}


def test_a_home_that_may_not_be_searched_is_no_home():
    program = """
        import os, tempfile
        from pathlib import Path
        from monitoring.instrument import statedir
        home = tempfile.mkdtemp()
        os.chmod(home, 0o700)
        if os.geteuid() == 0:
            os.seteuid(65534)  # the folder is root's
        else:
            os.chmod(home, 0)
        os.environ["HOME"] = home
        os.environ.pop("XDG_STATE_HOME", None)
        print(statedir.default_folder("/srv/a", "shop"))
    """
    program = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "/django-monitoring-" in done.stdout


def test_a_clock_that_was_ahead_for_one_worker_drops_nothing_else(state_dir, monkeypatch):
    worker(state_dir, "now = __import__('time').perf_counter()\ntable.record(row, 200, now - 1, now)")
    shop = metrics.RequestMetrics("shop", state_dir, 10)
    table = shop.open()
    row = shop.find_row("other", "GET", "/other")
    now = time.perf_counter()
    table.record(row, 200, now, now + 30 * 86400)
    assert set(shop.snapshot().endpoints) == {"GET/", "GET/other"}


def test_the_total_forgets_the_names_of_files_that_are_gone(state_dir):
    for _ in range(5):
        worker(state_dir, "os._exit(0)")
    folder.read_folder(state_dir)
    worker(state_dir, "os._exit(0)")
    folder.read_folder(state_dir)
    assert len(json.loads((state_dir / "total.json").read_text())["included"]) <= 1


@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_full_disk_leaves_the_counters_in_memory(state_dir, limit):
    program = f"""
        import logging, resource, sys
        from pathlib import Path
        from monitoring.instrument import metrics
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        logging.basicConfig()
        shop = metrics.RequestMetrics("shop", Path(sys.argv[1]), 1000)
        shop.open().record(shop.find_row("", "GET", "/"), 200, 0.0, 1.0)
        print(shop.snapshot().endpoints["GET/"].count, shop.snapshot().warning)
    """
    program = [sys.executable, "-c", textwrap.dedent(program), state_dir]
    done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 These are the requests of one worker process alone: ")
    assert done.stderr.count("kept in this process's memory") == 1
    assert worker_files(state_dir) == []


def test_a_total_that_cannot_be_written_costs_no_count(state_dir, caplog, monkeypatch):
    holder = worker(state_dir, "print('ready', flush=True); sys.stdin.read()", wait=False)
    holder.stdout.readline()
    holder.kill()
    holder.communicate()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_save_total", full)
    assert counts(state_dir) == (1, [])
    assert counts(state_dir) == (1, [])
    assert "cannot be written" in caplog.text
    monkeypatch.undo()
    assert counts(state_dir) == (1, [])
    assert worker_files(state_dir) == []


def test_a_lock_that_nobody_lets_go_of_is_said(state_dir, monkeypatch):
    monkeypatch.setattr(folder, "_PATIENCE", 0.05)
    program = """
        import fcntl
        lock = open(Path(os.environ["FOLDER"]) / "lock", "r+")
        fcntl.lockf(lock, fcntl.LOCK_EX)
        print("ready", flush=True)
        sys.stdin.read()
    """
    monkeypatch.setenv("FOLDER", str(state_dir))
    holder = worker(state_dir, program, wait=False)
    try:
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(statedir.FolderError, match="does not let go"):
            folder.read_folder(state_dir)
        assert metrics.RequestMetrics("shop", state_dir, 10).open() is not None
    finally:
        holder.communicate()


def one_request(shop):
    now = time.perf_counter()
    shop.open().record(shop.find_row("", "GET", "/"), 200, now - 1, now)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_counters_whose_file_was_removed_go_on_in_another(state_dir, what):
    shop = metrics.RequestMetrics("shop", state_dir, 10)
    one_request(shop)
    if what == "file":
        for name in worker_files(state_dir):
            (state_dir / name).unlink()
    else:
        shutil.rmtree(state_dir)
    one_request(shop)
    assert shop.snapshot().endpoints["GET/"].count == 2
    one_request(shop)
    assert [shop.snapshot().endpoints["GET/"].count for _ in range(3)] == [3, 3, 3]
    assert counts(state_dir) == (2, [1])


def test_a_folder_that_can_serve_later_takes_the_counts_over(tmp_path, monkeypatch):
    state_dir = tmp_path / "state"
    state_dir.touch()
    shop = metrics.RequestMetrics("shop", state_dir, 10)
    one_request(shop)
    assert shop.snapshot().warning
    state_dir.unlink()
    assert shop.snapshot().warning  # not yet
    monkeypatch.setattr(shop, "_retry_at", 0.0)
    document = shop.snapshot()
    assert (document.warning, document.endpoints["GET/"].count) == (None, 1)
    one_request(shop)
    assert shop.snapshot().endpoints["GET/"].count == 2
    assert counts(state_dir) == (1, [1])
    folder.forget_own_tables()


@pytest.mark.parametrize("kind", ["missing", "fine", "open to others", "a link", "impossible"])
def test_whether_a_folder_can_serve_is_told_without_making_it(tmp_path, kind):
    state_dir = tmp_path / "state"
    if kind in ("fine", "open to others"):
        state_dir.mkdir(mode=0o700)
    if kind == "open to others":
        state_dir.chmod(0o777)
    if kind == "a link":
        state_dir.symlink_to(tmp_path)
    if kind == "impossible":
        (tmp_path / "file").touch()
        state_dir = tmp_path / "file" / "state"
    assert (statedir.problem(state_dir) is None) == (kind in ("missing", "fine"))
    assert state_dir.exists() == (kind in ("fine", "open to others", "a link"))
