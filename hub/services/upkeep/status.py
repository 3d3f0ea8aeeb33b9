"""What keeps the hub in order, and when it did last; for administrators of the site."""

from django.conf import settings

from hub.models import UpkeepTask
from hub.services.upkeep.schedule import SCHEDULE


def status() -> list[dict]:
    """The tasks in the schedule's order: name, every (seconds), settings with their values, last and next run."""
    known = {row.name: row for row in UpkeepTask.objects.filter(name__in=SCHEDULE)}
    rows = []
    for name, task in SCHEDULE.items():
        row = known.get(name) or UpkeepTask(name=name)
        rows.append(
            {
                "name": name,
                "summary": task.summary,
                "every": task.every,
                "often": task.often,
                "setting": ", ".join(_value(name) for name in task.setting.split(", ") if name),
                "started_at": row.started_at,
                "finished_at": row.finished_at,
                "next_at": row.next_at,
                "outcome": row.outcome,
                "message": row.message,
            }
        )
    return rows


def _value(variable: str) -> str:
    """`HUB_KEEP_TRASH_DAYS=30`."""
    return f"{variable}={getattr(settings, variable.removeprefix('HUB_'))}"
