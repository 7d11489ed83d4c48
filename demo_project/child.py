"""`python -m demo_project.child ARGUMENTS`: what manage.py does, in a process that ends when its standard input does.

The demo holds the other end of that pipe. However it ends, kill -9 included, the system closes the pipe, and nobody is left.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_GRACE = 5.0
"""Seconds for what is under way."""


def end_with_standard_input() -> None:
    """Ask this process to end once its standard input has, and make it end if it does not."""
    try:
        while os.read(0, 1024):
            pass
    except OSError:
        pass  # as good as its end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, name="end-with-standard-input", daemon=True).start()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[1:]])
