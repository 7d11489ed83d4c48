"""The forms of a service and its instances."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.forms.models import BaseInlineFormSet
from django.utils import timezone

from monitoring.models import Service, validate_token


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A service; its bearer token goes in and never comes out."""

    new_token = forms.CharField(
        label="Bearer token",
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        validators=[validate_token],
    )
    remove_token = forms.BooleanField(label="Remove the token", required=False)

    time_zone = forms.ChoiceField(
        required=False, help_text="In which the schedule is meant. Summer time is dealt with as Debian's cron does."
    )

    class Meta:
        model = Service
        exclude = ["token"]  # noqa: DJ006 (all but this one, which must never be rendered)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "time_zone" in self.fields:
            own = self.instance.time_zone
            names = sorted(available_timezones() | ({own} if own else set()))
            project = f"the project's ({timezone.get_default_timezone_name()})"
            self.fields["time_zone"].choices = [("", project), *((name, name) for name in names)]  # type: ignore[attr-defined]
        if "new_token" not in self.fields:  # the user may only look
            return
        if self.instance.token:
            self.fields["new_token"].help_text = "A token is set, and is not shown again. Leave this empty to keep it."
        else:
            self.fields[
                "new_token"
            ].help_text = "Sent as “Authorization: Bearer …”; needed where the service's metrics ask for one."
            del self.fields["remove_token"]

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("remove_token"):
            self.instance.token = ""
        if self.cleaned_data.get("new_token"):
            self.instance.token = self.cleaned_data["new_token"]
        return super().save(commit)


class InstanceFormSet(BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form.cleaned_data.get("url") and not form.cleaned_data.get("DELETE")]
        if not kept and not any(self.errors):
            raise forms.ValidationError(
                "A service needs an address to be polled at: add the URL of its metrics document,"
                " such as http://shop.internal:8000/metrics."
            )
