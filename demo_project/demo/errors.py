from __future__ import annotations


class DemoError(Exception):
    """The demo cannot start, or go on; the message says why and what to do."""
