"""Soak a hub: users at work, parts killed at random, then the checks. Exit status 1 where something is found.

    make soak                                   20 minutes on SQLite and the embedded Valkey
    python -m tests.soak --hours 8 --seed 7     the same, longer; the seed is printed at the start of each run
    python -m tests.soak --postgres postgres://… --redis redis://…      on servers: both empty

It is a test and no benchmark: it compares with promises, not with a peer. The first part of the time everything is
killed, stopped and cut off. In the second part web and workers live on, so that their memory can be compared over time.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from hubctl.client import Hub
from tests import uploads
from tests.soak.checks import MORE, NOISE, grown, unexcused
from tests.soak.ending import checked, fsck, still
from tests.soak.site import PARTS, Site
from tests.soak.users import BASE, PASSWORD, User

USERS = ("ada", "ben", "cy")
KILLING = 0.55
WARM_UP = 0.25
SECONDS_A_SAMPLE = 5.0
# The broker is killed to the end, so its memory tells nothing.
WATCHED = PARTS[:3]
ROWS = 16


def main() -> int:
    """Run, print the table; the exit status."""
    options = arguments()
    seconds = options.hours * 3600 or options.minutes * 60
    print(f"soak for {seconds / 60:.0f} min, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-", dir=options.folder) as name:
        data = Path(name)
        (data / "hub").mkdir()
        site = Site(data / "hub", postgres=options.postgres, redis_url=options.redis)
        site.start()
        try:
            users, samples = work(site, data, seconds, options.seed)
            findings = quiet(site)
        finally:
            left = site.stop()
        findings += [f"process {pid} outlived the hub" for pid in left]
        found = checked(site.environment)
        findings += found["found"] + fsck(site)
        return report(site, users, samples, findings, found["counts"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--postgres", default="", help="URL of an empty database, in place of SQLite")
    parser.add_argument("--redis", default="", help="URL of a Redis, in place of the embedded Valkey")
    parser.add_argument("--folder", default=None, help="where the hub's data folder is made, and removed at the end")
    return parser.parse_args()


def work(site: Site, data: Path, seconds: float, seed: int) -> tuple[list[User], list]:
    """Let the users work and the faults happen; the users, and samples of memory since the last kill."""
    hub = Hub(site.url)
    for name in USERS:
        made = site.manage("create_user", name, "--password-stdin", input=PASSWORD)
        assert made.returncode == 0, made.stderr
    hub.sign_in(USERS[0], PASSWORD)
    hub.wait(hub.add_base(BASE, uploads.PICO_CONFIG)["job"])
    site.began = time.monotonic()
    over = threading.Event()
    users = [User(name, site, seed + n, data / name, over) for n, name in enumerate(USERS)]
    for user in users:
        user.start()
    kept: list[tuple[float, dict[str, int]]] = []
    sampler = threading.Thread(target=sample, args=(site, kept, over), daemon=True)
    sampler.start()
    chance = random.Random(seed)
    outside = ("database",) if site.postgres else ()
    broker = () if site.redis_url else ("valkey",)
    while (now := site.now()) < seconds:
        killing = now < seconds * KILLING
        over.wait(chance.uniform(4, 14))
        if site.now() < seconds - 10:
            parts = (*PARTS[:3], *broker, *outside) if killing else (*broker, *outside)
            if parts and (killing or chance.random() < 0.3):
                site.hurt(chance, parts)
        if site.process.poll() is not None:
            break
    over.set()
    for thread in [*users, sampler]:
        thread.join(120)
    return users, kept


def sample(site: Site, kept: list, over: threading.Event) -> None:
    """Note each part's memory every few seconds."""
    while not over.wait(SECONDS_A_SAMPLE):
        kept.append((site.now(), {part: site.memory(part) for part in WATCHED}))


def quiet(site: Site) -> list[str]:
    """Wait until no job is left to do; what hinders that is found later in the database."""
    if site.process.poll() is not None:
        return [f"the supervisor ended with {site.process.returncode}: {site.said()[-2000:]}"]
    return still(site.url, USERS)


def report(site: Site, users: list[User], samples: list, findings: list[str], counts: dict) -> int:
    """Print the table and the findings; the exit status."""
    answers = [answer for user in users for answer in user.answers]
    findings = findings + [wrong for user in users for wrong in user.wrong] + unexcused(answers, site.faults)
    findings += [f"web.log: {line}" for line in _incidents(site)]
    ended = [fault.end for fault in site.faults if fault.part in WATCHED and fault.what == "killed"]
    last_kill = max(ended, default=0.0)
    later = [row for row in samples if row[0] > last_kill]
    rows, big = grown(later[int(len(later) * WARM_UP) :])
    findings += big
    done = Counter()
    for user in users:
        done.update(user.done)
    print(f"\n{'what':34} {'count':>8}")
    for what, count in [
        *((f"users: {name}", count) for name, count in done.most_common()),
        *((f"answers {status or 'none'}", n) for status, n in sorted(Counter(a.status for a in answers).items())),
        *((f"refused: {asked} {status}", n) for (asked, status), n in _refused(answers).most_common(12)),
        *((f"faults: {part} {what}", n) for (part, what), n in sorted(_kinds(site).items())),
        *counts.items(),
    ]:
        print(f"{what:34} {count:8}")
    print("\nmemory by time, MB (web and workers were last killed at " + f"{last_kill / 60:.1f} min)")
    print(f"{'minute':>8}" + "".join(f"{part:>10}" for part in WATCHED))
    for at, memory in samples[:: max(1, len(samples) // ROWS)]:
        print(f"{at / 60:8.1f}" + "".join(f"{memory[part] / 1e6:10.1f}" for part in WATCHED))
    print(f"\nmemory without a restart (limit +{MORE:.0%} and {NOISE / 1e6:.0f} MB)")
    print(f"{'part':10} {'first third, MB':>16} {'last third, MB':>16}  flat")
    for part, first, last, flat in rows:
        print(f"{part:10} {first:16.1f} {last:16.1f}  {'yes' if flat else 'NO'}")
    print("\n" + ("nothing found" if not findings else f"{len(findings)} findings"))
    for finding in findings:
        print(f"  {finding}")
    return 1 if findings else 0


def _kinds(site: Site) -> Counter:
    return Counter((fault.part, fault.what.partition(" for")[0]) for fault in site.faults)


def _refused(answers: list) -> Counter:
    return Counter((answer.asked, answer.status) for answer in answers if 400 <= answer.status < 500)


def _incidents(site: Site) -> list[str]:
    log = site.data / "logs" / "web.log"
    return [line[:300] for line in log.read_text(errors="replace").splitlines() if "incident " in line][:20]


if __name__ == "__main__":
    sys.exit(main())
