"""What the demo puts into the monitor's database: its tables, an admin user, and the test servers."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction

from demo_project import places
from demo_project.demo.errors import DemoError
from monitoring.models import Instance, Service

ADMIN = "admin"


def prepare_database(metrics_urls: Mapping[str, str]) -> str:
    """Make or update the tables, the admin user and the registered services; gives the admin's password.

    `metrics_urls`: by the name of a service. Raises DemoError.
    """
    try:
        call_command("migrate", verbosity=0, interactive=False)
        password = places.kept_secret("admin-password", 9)
        with transaction.atomic():
            ensure_admin(ADMIN, password)
            for name, url in metrics_urls.items():
                register(name, url)
    except (DatabaseError, OSError) as error:
        raise DemoError(
            f"The demo's database {places.DATABASE} cannot be used: {error}."
            f" Delete the folder {places.DEMO_DIR} to begin anew; the demo's history goes with it."
        ) from error
    finally:
        connections.close_all()
    return password


def ensure_admin(name: str, password: str) -> None:
    """This user with this password is an admin, whatever happened to it since the last start."""
    user_model = get_user_model()
    user, _created = user_model.objects.get_or_create(**{user_model.USERNAME_FIELD: name})
    user.is_active = user.is_staff = user.is_superuser = True
    if not user.check_password(password):  # a new hash would log its sessions out
        user.set_password(password)
    user.save()


def register(name: str, metrics_url: str) -> None:
    """The service is registered, and its first instance is at this URL. What else was changed in the admin stays."""
    service, _created = Service.objects.get_or_create(name=name)
    if service.instances.filter(url=metrics_url).exists():
        return
    instance = service.instances.first() or Instance(service=service)
    instance.url = metrics_url
    instance.save()
