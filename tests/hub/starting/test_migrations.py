"""The rule of migrations: the release before goes on beside the new schema, until all hosts have the new release.

So a migration only adds: tables, columns that may be empty or have a default of the database's own, indexes. What it
does to tables that it makes itself is free, as the release before doesn't know them. What a release no longer uses is
dropped by the one after it, and stands in `ALLOWED` with the reason. docs/many-hosts.md says it for operators.
"""

import importlib
import re
from pathlib import Path

import pytest
from django.db import migrations, models
from django.db.models import NOT_PROVIDED

FOLDER = Path(__file__).resolve().parents[3] / "hub" / "migrations"
# The newest migration of the release before this rule.
FORMER = 19
# (migration without its number, function or operation as it describes itself) → why the release before stands it.
ALLOWED = {
    ("search", "build_indexes"): "it touches new tables only",
    ("search", "ask_to_catch_up"): "one row of upkeep, of a task that the release before leaves alone",
}
ADDS = (
    migrations.CreateModel,
    migrations.AddIndex,
    migrations.RemoveIndex,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
)
# Code and SQL of a migration are read by a person: what they do to rows must suit both releases.
READ = (migrations.RunPython, migrations.RunSQL, migrations.SeparateDatabaseAndState)


def trouble(operation: migrations.operations.base.Operation, before: models.Field | None = None) -> str:
    """What the release before would stumble over; "" for nothing. `before` is an altered field as it was."""
    if isinstance(operation, ADDS):
        return ""
    if isinstance(operation, migrations.AddField):
        field = operation.field
        free = field.null or field.db_default is not NOT_PROVIDED or isinstance(field, models.ManyToManyField)
        return "" if free else "its rows lack the column: let it be null, or give it a db_default"
    if isinstance(operation, migrations.AlterField) and before is not None:
        after = operation.field
        if type(after) is not type(before) or after.column != before.column:
            return "the column gets another type or name"
        if before.null and not after.null and after.db_default is NOT_PROVIDED:
            return "it writes no value, which is now refused"
        if (after.max_length or 10**9) < (before.max_length or 10**9):
            return "its values may be too long"
        return "its values may repeat" if after.unique and not before.unique else ""
    if isinstance(operation, READ):
        return "a person has to read what it does to rows"
    return "it uses what is taken away, renamed or forbidden"


def newer_than_the_former() -> list[str]:
    numbered = (path.stem for path in FOLDER.glob("[0-9]*.py"))
    return sorted(name for name in numbered if int(re.match(r"\d+", name)[0]) > FORMER)


def test_there_are_such_migrations():
    assert newer_than_the_former()


@pytest.mark.parametrize("name", newer_than_the_former())
def test_a_migration_only_adds(name):
    from django.db.migrations.loader import MigrationLoader

    migration = importlib.import_module(f"hub.migrations.{name}").Migration
    loader = MigrationLoader(None)
    state = loader.project_state([("hub", parent) for app, parent in migration.dependencies if app == "hub"])
    made = set()
    for operation in migration.operations:
        if isinstance(operation, migrations.CreateModel):
            made.add(operation.name_lower)
        before = None
        if isinstance(operation, migrations.AlterField):
            before = state.models["hub", operation.model_name_lower].fields[operation.name]
        said = "" if getattr(operation, "model_name_lower", "") in made else trouble(operation, before)
        does = getattr(getattr(operation, "code", None), "__name__", operation.describe())
        fine = not said or (name.partition("_")[2], does) in ALLOWED
        assert fine, f"{name}, {operation.describe()}: the release before goes on beside it, and {said}"
        operation.state_forwards("hub", state)


TEXT = models.CharField(max_length=20)
CASES = [
    (migrations.AddField("job", "x", models.CharField(max_length=20, null=True)), None, True),
    (migrations.AddField("job", "x", models.CharField(max_length=20, default="", db_default="")), None, True),
    (migrations.AddField("job", "x", models.CharField(max_length=20, default="")), None, False),
    (migrations.AddField("job", "x", models.JSONField(default=dict)), None, False),
    (migrations.RemoveField("job", "queue"), None, False),
    (migrations.RenameField("job", "queue", "need"), None, False),
    (migrations.RenameModel("Job", "Work"), None, False),
    (migrations.DeleteModel("Job"), None, False),
    (migrations.AlterModelTable("Job", "work"), None, False),
    (migrations.AlterField("job", "queue", models.CharField(max_length=40)), TEXT, True),
    (migrations.AlterField("job", "queue", models.CharField(max_length=10)), TEXT, False),
    (migrations.AlterField("job", "queue", models.CharField(max_length=20, unique=True)), TEXT, False),
    (migrations.AlterField("job", "queue", models.TextField()), TEXT, False),
    (migrations.AlterField("job", "queue", TEXT), models.CharField(max_length=20, null=True), False),
    (migrations.AlterField("job", "queue", models.CharField(max_length=20, null=True)), TEXT, True),
    (migrations.AddConstraint("job", models.CheckConstraint(condition=models.Q(), name="x")), None, False),
    (migrations.RunPython(migrations.RunPython.noop), None, False),
    (migrations.RunSQL("DROP TABLE hub_job"), None, False),
]


@pytest.mark.parametrize(("operation", "before", "fine"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_the_rule_knows_what_it_sees(operation, before, fine):
    for field in (before, getattr(operation, "field", None)):
        if field is not None:
            field.set_attributes_from_name("queue")
    assert (trouble(operation, before) == "") is fine
