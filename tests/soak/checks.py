"""What must hold after everything: nothing half, nothing hanging, no answer that had no excuse, flat memory.

As `python -m tests.soak.checks`, in the hub's own environment, it prints what is wrong in database and store as JSON.
"""

import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

# Seconds after a fault in which its part may still refuse: sockets close, the supervisor starts it again.
SLACK = 5.0
# How much more memory a part may have in the last third than in the first, and what is noise.
MORE = 0.15
NOISE = 12_000_000


EXCUSES = {0: ("web",), 503: ("database",)}


def unexcused(
    answers: Sequence, faults: Sequence, excuses: Mapping[int, Sequence[str]] = EXCUSES, slack: float = SLACK
) -> list[str]:
    """Answers that are nobody's fault but the hub's: 500 never; 503 near a lost database; none only without a web.

    `excuses` names by status the parts whose faults excuse it, up to `slack` seconds before and after.
    """
    found = Counter()
    for answer in answers:
        if 0 < answer.status < 500:
            continue
        parts = excuses.get(answer.status, ())
        near = [f for f in faults if f.part in parts and answer.begin < f.end + slack and answer.end > f.begin - slack]
        if not near:
            found[f"{answer.asked} was answered {answer.status or 'by nothing'} with every part there"] += 1
    return [f"{what} ({times} times)" for what, times in found.most_common()]


def grown(samples: Sequence[tuple[float, dict[str, int]]]) -> tuple[list[tuple[str, float, float, bool]], list[str]]:
    """Rows (part, MB in the first third, MB in the last, flat) of samples after the warm-up, and what isn't flat."""
    rows, findings = [], []
    third = len(samples) // 3
    for part in samples[0][1] if third else ():
        first = statistics.median(memory[part] for _, memory in samples[:third])
        last = statistics.median(memory[part] for _, memory in samples[-third:])
        flat = last <= first * (1 + MORE) + NOISE
        rows.append((part, first / 1e6, last / 1e6, flat))
        if not flat:
            findings.append(f"{part} grew from {first / 1e6:.0f} to {last / 1e6:.0f} MB without a restart")
    return rows, findings


def stored() -> list[str]:
    """What is wrong in database and store."""
    from composition.registry import METHODS
    from hub.models import FINAL, Blob, Job, Ref, Revision, State, Version
    from hub.services.content.manifest import manifest_of
    from hub.storage import blobs, digest

    found = []
    for job in Job.objects.exclude(state__in=FINAL):
        found.append(f"{job} hangs: {job.message} {job.error}")
    for job in Job.objects.filter(state=State.FAILED):
        if (job.error or {}).get("code") != "worker.lost":
            found.append(f"{job} failed: {job.error}")
    publishing = Job.objects.filter(kind__in=[kind for kind, method in METHODS.items() if method.verb == "merge"])
    for job in publishing:
        made = list(Version.objects.filter(job=job))
        wanted = 1 if job.state == State.DONE else 0
        if len(made) != wanted or (wanted and job.result_id != made[0].pk):
            found.append(f"{job} has {len(made)} versions: {made}; its result is {job.result}")
    good: dict[str, bool] = {}
    for revision in Revision.objects.select_related("repository"):
        for path, entry in manifest_of(revision).items():
            if entry.sha256 not in good:
                try:
                    with blobs.open(entry.sha256) as stream:
                        good[entry.sha256] = digest(stream) == tuple(entry)
                except OSError:
                    good[entry.sha256] = False
            if not good[entry.sha256]:
                found.append(f"{revision.repository} {path}: the store has no whole {entry.sha256}")
    for blob in Blob.objects.all():
        if not blobs.exists(blob.sha256):
            found.append(f"the store lacks {blob.sha256}, which has a row")
    for version in Version.objects.select_related("repository"):
        if not Ref.objects.filter(repository=version.repository, name="main").exists():
            found.append(f"{version} is in a repository without a main branch")
    return found


def counts() -> dict[str, int]:
    """Rows, for the report."""
    from hub.models import Blob, Job, Version

    rows = Counter(Job.objects.values_list("state", flat=True))
    lost = sum(Job.objects.values_list("lost", flat=True))
    return {**{f"jobs {state}": n for state, n in sorted(rows.items())}, "attempts lost": lost} | {
        "versions": Version.objects.count(),
        "blobs": Blob.objects.count(),
    }


if __name__ == "__main__":
    import django

    django.setup()
    json.dump({"found": stored(), "counts": counts()}, sys.stdout)
