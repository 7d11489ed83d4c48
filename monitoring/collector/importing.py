"""Services from a file into the registry: all of them or, where anything is wrong, none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import IntegrityError, router, transaction

from monitoring.collector import registry_file
from monitoring.collector.registry_file import ListedService
from monitoring.collector.registry_text import FileRefusedError
from monitoring.models import Instance, Service


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one listed service."""

    name: str
    created: bool
    changed: list[str] = field(default_factory=list)
    """Names of fields; never a value, for one of them is a secret."""
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """URLs that are registered but not listed."""

    def __str__(self) -> str:
        changes = [*self.changed, *(f"+{url}" for url in self.added), *(f"-{url}" for url in self.removed)]
        if self.created:
            what = f"created ({', '.join(self.added)})"
        else:
            what = f"updated ({', '.join(changes)})" if changes else "unchanged"
        kept = f"; registered but not listed, and kept: {', '.join(self.kept)} (--prune removes)" if self.kept else ""
        return f"{self.name}: {what}{kept}"


@dataclass(frozen=True, slots=True)
class Report:
    """One outcome a listed service, in the order of the file, and what of the file was not read."""

    outcomes: list[Outcome]
    notes: list[str]


def import_services(content: bytes, environ: Mapping[str, str], prune: bool = False) -> Report:
    """Register what a file lists, in one transaction; a second run changes nothing.

    Only what the file states is changed: fields that it leaves out keep their value, and services that it leaves out stay.
    Instances of a listed service that the file leaves out stay too, unless `prune` is set and the file states its URLs.
    Raises FileRefusedError with everything that is wrong.
    """
    listing = registry_file.read(content, environ)
    problems = list(listing.problems)
    try:
        with transaction.atomic(using=router.db_for_write(Service)):
            outcomes = [_register(listed, prune, problems) for listed in listing.services]
            if problems:
                raise FileRefusedError(*problems)
    except IntegrityError:
        raise FileRefusedError("The registry was changed by somebody else meanwhile. Run the import again.") from None
    return Report(outcomes, listing.notes)


def _register(listed: ListedService, prune: bool, problems: list[str]) -> Outcome:
    service = Service.objects.filter(name=listed.name).first()
    created = service is None
    service = service or Service(name=listed.name)
    changed = [name for name, value in listed.values.items() if getattr(service, name) != value]
    for name in changed:
        setattr(service, name, listed.values[name])
    registered = {} if created else {one.url: one for one in service.instances.all()}
    added = [] if listed.urls is None else [(where, url) for where, url in listed.urls if url not in registered]
    found = _problems(service, listed.where, None if created else changed)
    for where, url in added:
        found += _problems(Instance(service=service, url=url), where, ["url"], named=False)
    if created and listed.urls is None:
        found.append(f"{listed.where}: a new service needs url or urls, the address of its metrics document.")
    if found:
        problems += found
        return Outcome(listed.name, created)
    if created:
        service.save()
    elif changed:
        service.save(update_fields=changed)  # only these: a collector may be claiming a slot meanwhile
    Instance.objects.bulk_create(Instance(service=service, url=url) for _where, url in added)
    absent = [] if listed.urls is None else sorted(registered.keys() - {url for _where, url in listed.urls})
    if prune and absent:
        service.instances.filter(url__in=absent).delete()
    return Outcome(
        listed.name,
        created,
        [] if created else changed,
        [url for _where, url in added],
        absent if prune else [],
        [] if prune else absent,
    )


def _problems(row: Service | Instance, where: str, only: list[str] | None, named: bool = True) -> list[str]:
    """What the model's validation says, of these fields (None: of all)."""
    exclude = None if only is None else {one.name for one in row._meta.fields if one.name not in only}
    try:
        row.full_clean(exclude=exclude)
    except ValidationError as error:
        return [
            f"{where}: {name}: {message}" if named and name != "__all__" else f"{where}: {message}"
            for name, messages in error.message_dict.items()
            for message in messages
        ]
    return []
