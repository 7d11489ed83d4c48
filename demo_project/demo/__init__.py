"""`manage.py demo`: a small fleet with traffic, and the monitor that watches it."""
