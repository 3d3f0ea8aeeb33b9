"""Hurt a hub on many hosts at random points, then check everything. Exit status 1 where something is found.

    make test-cluster                           200 points
    python -m tests.cluster --points 20 --seed 7

Two web hosts with data folders of their own behind a balancer without stickiness, four workers on two hosts, PostgreSQL
(TEST_POSTGRES_URL), an embedded Valkey and an S3 server (moto). Users push, resume, pull, merge, cancel and watch
meanwhile. At every point one part is killed, paused, cut off or made silent for up to two leases. At the end nothing
may be lost or half-published, every queued job is done, and no job has failed.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from hubctl.client import Hub
from tests import uploads
from tests.cluster.relay import until
from tests.cluster.site import PARTS, WEB, Cluster
from tests.cluster.users import ClusterUser
from tests.soak.checks import unexcused
from tests.soak.ending import checked, fsck, still
from tests.soak.users import BASE, PASSWORD

USERS = ("ada", "ben")
SHORT = ("web1", "worker1", "store", "valkey", "database", "web2")
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
# No answer at all is excused by a web host that died or stood still, and by what it waited for.
EXCUSES = {
    0: (*WEB, "database", "store"),
    502: WEB,
    503: ("database", "store", "valkey", *WEB),
}
SLACK = 12.0
# Faults begin when everyone has pushed and merged something.
SECONDS_TO_WARM_UP = 90.0


def main() -> int:
    """Run, print the table; the exit status."""
    options = arguments()
    print(f"cluster, {len(SHORT) if options.short else options.points} points, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=options.folder) as name:
        cluster = Cluster(Path(name), postgres=options.postgres)
        findings: list[str] = []
        users: list[ClusterUser] = []
        counts: dict[str, int] = {}
        try:
            cluster.start()
            users = work(cluster, Path(name) / "users", options)
            findings += still(cluster.url, USERS)
            found = checked(cluster.environment | {"HUB_DATA": str(cluster.folder / WEB[0])})
            findings += found["found"] + fsck(cluster)
            counts = found["counts"]
            logs = cluster.logs()
        finally:
            left = cluster.stop()
        findings += [f"process {pid} outlived the cluster" for pid in left]
        return report(cluster, users, findings, counts, logs)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200, help="faults, one after the other")
    parser.add_argument("--short", action="store_true", help="each kind of part once, in place of --points")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--postgres", default=POSTGRES, help="a server on which a database may be made")
    parser.add_argument("--folder", default=None, help="where the hosts' folders are made, and removed at the end")
    return parser.parse_args()


def work(cluster: Cluster, folder: Path, options: argparse.Namespace) -> list[ClusterUser]:
    """Let the users work, and hurt one part after the other."""
    hub = Hub(cluster.url)
    for name in USERS:
        made = cluster.manage("create_user", name, "--password-stdin", input=PASSWORD)
        assert made.returncode == 0, made.stderr
    hub.sign_in(USERS[0], PASSWORD)
    hub.wait(hub.add_base(BASE, uploads.PICO_CONFIG)["job"])
    cluster.began = time.monotonic()
    over = threading.Event()
    users = [ClusterUser(name, cluster, options.seed + n, folder / name, over) for n, name in enumerate(USERS)]
    for user in users:
        user.start()
    chance = random.Random(options.seed)
    parts = SHORT if options.short else [chance.choice(options.parts) for _ in range(options.points)]
    until(lambda: all(len(user.pushed) > 1 and user.jobs for user in users), SECONDS_TO_WARM_UP)
    for point, part in enumerate(parts):
        time.sleep(chance.uniform(1, 5))
        cluster.hurt(chance, part)
        fault = cluster.faults[-1]
        print(f"{point + 1:4} {fault.begin:7.1f} s  {fault.part} {fault.what}", flush=True)
    time.sleep(5)
    over.set()
    for user in users:
        user.join(180)
    return users


def report(cluster: Cluster, users: list[ClusterUser], findings: list[str], counts: dict, logs: dict) -> int:
    """Print the table and the findings; the exit status."""
    answers = [answer for user in users for answer in user.answers]
    findings = findings + [wrong for user in users for wrong in user.wrong]
    findings += unexcused(answers, cluster.faults, EXCUSES, SLACK)
    for name, log in logs.items():
        findings += [f"{name}: {line[:300]}" for line in log.splitlines() if "incident " in line][:20]
    done = Counter()
    for user in users:
        done.update(user.done)
    print(f"\n{'what':34} {'count':>8}")
    for what, count in [
        *((f"users: {name}", count) for name, count in done.most_common()),
        *((f"answers {status or 'none'}", n) for status, n in sorted(Counter(a.status for a in answers).items())),
        *((f"faults: {part} {what}", n) for (part, what), n in sorted(_kinds(cluster).items())),
        *counts.items(),
    ]:
        print(f"{what:34} {count:8}")
    print("\n" + ("nothing found" if not findings else f"{len(findings)} findings"))
    for finding in findings:
        print(f"  {finding}")
    return 1 if findings else 0


def _kinds(cluster: Cluster) -> Counter:
    return Counter((fault.part, fault.what) for fault in cluster.faults)


if __name__ == "__main__":
    sys.exit(main())
