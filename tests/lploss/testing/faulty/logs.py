"""Losses whose log entries trainers cannot use."""

from __future__ import annotations

from tests.lploss.testing.faulty.fault import because, faulty
from tests.lploss.testing.faulty.sound import Distance


@faulty("check_logs")
class KeepsTheGraph(Distance):
    """Logs a value that is not detached."""

    def log_loss(self, loss, stage=None):
        first, *others = super().log_loss(loss, stage)
        return [{**first, "value": loss}, *others]


@faulty("check_logs")
class NamesNoStage(Distance):
    """Logs training and validation under one name."""

    def log_loss(self, loss, stage=None):
        return super().log_loss(loss)


@faulty("check_logs")
class LogsTheWeighted(Distance):
    """Logs the weighted value under the name of the unweighted one."""

    def log_loss(self, loss, stage=None):
        first, *others = super().log_loss(loss, stage)
        return [{**first, "value": (self.weight * loss).detach()}, *others]


@faulty("check_logs")
class LogsNoWeight(Distance):
    """Leaves the weight out."""

    def log_loss(self, loss, stage=None):
        return super().log_loss(loss, stage)[:1]


@faulty(
    "check_logs",
    also=because("it looks at values", "check_no_synchronisation"),
)
class LogsPlainNumbers(Distance):
    """Asks for the values."""

    def log_loss(self, loss, stage=None):
        return [{**e, "value": e["value"].item()} for e in super().log_loss(loss, stage)]


@faulty("check_logs")
class LogsMore(Distance):
    """Adds what no trainer knows to an entry."""

    def log_loss(self, loss, stage=None):
        return [{**entry, "on_epoch": True} for entry in super().log_loss(loss, stage)]


@faulty("check_logs")
class LogsPairs(Distance):
    """Has entries of another form."""

    def log_loss(self, loss, stage=None):
        return [(entry["name"], entry["value"]) for entry in super().log_loss(loss, stage)]


@faulty("check_logs")
class LogsADict(Distance):
    """Returns a dict instead of a list."""

    def log_loss(self, loss, stage=None):
        return {entry["name"]: entry["value"] for entry in super().log_loss(loss, stage)}


@faulty("check_logs")
class LogsOneNameTwice(Distance):
    """Logs two values under one name."""

    def log_loss(self, loss, stage=None):
        first, *others = super().log_loss(loss, stage)
        return [{**first, "value": first["value"].sqrt()}, first, *others]
