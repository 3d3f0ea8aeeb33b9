"""Lists, searches and pages of a hub with very many repositories, on PostgreSQL and SQLite.

    python bench/hub.py [--quick] [--counts 100000,1000000] [--postgres URL] [--seconds N] [--json FILE]

Makes a database for each (PostgreSQL: a new one beside that of the URL, dropped at the end), fills it (`hub_rows.py`),
and asks each case in this process, as anybody and as a member with private repositories: p50 and p99 of the time in the
database and in all, with queries and kilobytes. Then granian serves the API's list of thirty adapters of 224 modules to
32 clients, beside a bare view of the same rows (`bare_urls.py`).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# This file's name is the package's: the folder that it lies in must not come first.
sys.path[0] = str(ROOT)
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
CASES = {
    "browse": "/",
    "browse by name": "/?sort=name",
    "browse generators": "/?kind=generator",
    "browse a base": "/?base=llamaai/llama1-1b",
    "browse a rare base": "/?base=qwenai/qwen2-250b",
    "browse two facets": "/?rank=16&license=mit",
    "browse a tag": "/?tag=sql 0",
    "search selective": "/?search=4711",
    "search two words": "/?search=sql judge",
    "search broad": "/?search=qwen",
    "search all": "/?search=rank",
    "search none": "/?search=zzzxqk",
    "search mistyped": "/?search=phylosophy",
    "search by time": "/?search=sql&sort=updated",
    "namespace": "/org3",
    "adapter page": "/{adapter}",
    "bases": "/bases",
    "API list": "/api/v1/repositories?limit=30",
    "API search": "/api/v1/repositories?search=sql dates&limit=30",
    "protocol list": "/api/models?limit=30",
    "protocol tag": "/api/models?filter=sql 0&limit=30",
}
GOALS = {"db": 50.0, "all": 150.0}
"""Milliseconds at p99, of browsing and searching."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="20,000 repositories, few rounds")
    options.add_argument("--counts", default="")
    options.add_argument("--postgres", default=POSTGRES)
    options.add_argument("--only", choices=("postgresql", "sqlite"))
    options.add_argument("--rounds", type=int, default=0)
    options.add_argument("--seconds", type=float, default=0)
    options.add_argument("--json", type=Path)
    options.add_argument("--one", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        print(json.dumps(one(json.loads(given.one))))
        return
    counts = [int(text) for text in (given.counts or ("20000" if given.quick else "100000,1000000")).split(",")]
    rows = []
    for count in counts:
        for vendor in ("postgresql", "sqlite"):
            if given.only in (None, vendor):
                rounds = given.rounds or (6 if given.quick else 50)
                seconds = given.seconds or (4 if given.quick else 15)
                rows += measured(vendor, count, rounds, seconds, given.postgres)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def measured(vendor: str, count: int, rounds: int, seconds: float, postgres: str) -> list[dict]:
    """The rows of one database, made by a process of its own and shown as they are."""
    data, name = Path(tempfile.mkdtemp(prefix="bench-hub-")), f"bench_hub_{os.getpid()}"
    url = f"sqlite:///{data}/hub.sqlite3" if vendor == "sqlite" else f"{postgres.rpartition('/')[0]}/{name}"
    if vendor == "postgresql":
        administer(postgres, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "HUB_DATA": str(data),
        "HUB_LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    wanted = json.dumps({"vendor": vendor, "count": count, "rounds": rounds, "seconds": seconds})
    try:
        run = [sys.executable, __file__, "--one", wanted]
        found = subprocess.run(run, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        shutil.rmtree(data, ignore_errors=True)
        if vendor == "postgresql":
            administer(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    rows = json.loads(found.stdout.splitlines()[-1])
    show(vendor, count, rows)
    return rows


def administer(url: str, *statements: str) -> None:
    """Run statements outside any transaction."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def one(wanted: dict) -> list[dict]:
    """Fill this process's database and measure."""
    import django

    django.setup()
    from django.core.management import call_command

    from bench import hub_rows

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    print(f"{wanted['count']:,} on {wanted['vendor']}: filling", file=sys.stderr, flush=True)
    took = hub_rows.fill(wanted["count"])
    member = hub_rows.add_member()
    hub_rows.make_heavy()
    rows = [{"case": "filled", "seconds": round(took)}]
    label = f"{wanted['vendor']}, {wanted['count']:,}"
    for name, path in CASES.items():
        for user in (None, member):
            row = ask(path.format(adapter=hub_rows.newest()), user, wanted["rounds"])
            row |= {"case": name, "peer": label, "as": "member" if user else "anybody", "unit": "ms"}
            if name.startswith(("browse", "search")):
                row |= {"ours": row["db_p99"], "theirs": GOALS["db"], "ratio": round(GOALS["db"] / row["db_p99"], 2)}
            rows.append(row)
    return [*rows, *served(wanted["seconds"], label)]


def ask(path: str, user: object, rounds: int) -> dict:
    """One case, asked again and again; the first two times warm it up."""
    import time

    from django.db import connection
    from django.test import Client

    client, whole, inside, asked = Client(), [], [], 0
    if user:
        client.force_login(user)
    for number in range(rounds + 2):
        spent, count = [], [0]

        def timed(execute: Callable, sql: str, values: object, many: bool, context: dict, spent=spent, count=count):
            begun = time.perf_counter()
            try:
                return execute(sql, values, many, context)
            finally:
                spent.append(time.perf_counter() - begun)
                count[0] += 1

        begun = time.perf_counter()
        with connection.execute_wrapper(timed):
            answer = client.get(path)
        took = time.perf_counter() - begun
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code}")
        if number >= 2:
            whole.append(took * 1000)
            inside.append(sum(spent) * 1000)
            asked = count[0]
    figures = {"queries": asked, "kilobytes": round(len(answer.content) / 1000)}
    for name, values in (("db", inside), ("all", whole)):
        ordered = sorted(values)
        figures[f"{name}_p50"] = round(statistics.median(ordered), 1)
        figures[f"{name}_p99"] = round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1)
    return figures


def served(seconds: float, label: str) -> list[dict]:
    """Requests a second of the API's list and of the bare view, by granian, to 32 clients at once."""
    from bench.hub_load import compare

    found = compare(["/api/v1/repositories?limit=30", "/api/models?limit=30", "/api/bare"], clients=32, seconds=seconds)
    bare = found.pop("/api/bare")
    return [
        {
            "case": f"{path} × 32",
            "peer": f"a bare view, {label}",
            "ours": rate,
            "theirs": bare,
            "unit": "requests/s",
            "ratio": round(rate / bare, 2),
        }
        for path, rate in found.items()
    ]


def show(vendor: str, count: int, rows: list[dict]) -> None:
    """The table of one database."""
    print(f"\n{count:,} repositories on {vendor}, filled in {rows[0]['seconds']} s\n")
    print("| case | as | db p50 | db p99 | all p50 | all p99 | queries | kB |\n|---|---|---|---|---|---|---|---|")
    for row in rows[1:]:
        if "db_p50" in row:
            figures = (row[name] for name in ("db_p50", "db_p99", "all_p50", "all_p99", "queries", "kilobytes"))
            print(f"| {row['case']} | {row['as']} | " + " | ".join(map(str, figures)) + " |")
    for row in rows:
        if row.get("unit") == "requests/s":
            print(f"\n{row['case']}: {row['ours']} requests/s, the bare view {row['theirs']}: {row['ratio']}×")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
