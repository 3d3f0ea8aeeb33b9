"""What users and namespaces may use, and what is kept how long: settings from the environment.

`hub.settings` takes them over by their names."""

from django.core.exceptions import ImproperlyConfigured

from hub.env import env, env_int, env_list

# What a user or a namespace may use; 0 is no limit. An administrator may set others for one of them.
QUOTAS = {
    "stored_bytes": env_int("HUB_QUOTA_STORED_MB", 1_000_000) * 1_000_000,
    "stored_files": env_int("HUB_QUOTA_STORED_FILES", 200_000),
    "files_per_revision": env_int("HUB_QUOTA_FILES_PER_REVISION", 2_000),
    "repositories": env_int("HUB_QUOTA_REPOSITORIES", 10_000),
    "companions": env_int("HUB_QUOTA_COMPANIONS", 20_000),
    "webhooks": env_int("HUB_QUOTA_WEBHOOKS", 50),
    "queued_jobs": env_int("HUB_QUOTA_QUEUED_JOBS", 1_000),
    "running_jobs": env_int("HUB_QUOTA_RUNNING_JOBS", 0),
    "open_uploads": env_int("HUB_QUOTA_OPEN_UPLOADS", 200),
    "staged_bytes": env_int("HUB_QUOTA_STAGED_MB", 200_000) * 1_000_000,
    "open_proposals": env_int("HUB_QUOTA_OPEN_PROPOSALS", 100),
    "proposed_bytes": env_int("HUB_QUOTA_PROPOSED_MB", 20_000) * 1_000_000,
    "organisations": env_int("HUB_QUOTA_ORGANISATIONS", 100),
    "tokens": env_int("HUB_QUOTA_TOKENS", 200),
    "bases": env_int("HUB_QUOTA_BASES", 1_000),
    "base_bytes": env_int("HUB_QUOTA_BASE_MB", 1_000_000) * 1_000_000,
}
ALIASES_A_BASE = env_int("HUB_QUOTA_ALIASES", 50)
SIGN_UPS_A_DAY = env_int("HUB_QUOTA_SIGN_UPS", 100)
# Free disk, in MB, below which nothing new is written; "" is 1,000 or 2 % of the disk, whichever is smaller.
MIN_FREE_MB = env_int("HUB_MIN_FREE_MB", 0) if env("HUB_MIN_FREE_MB") else None
if min(*QUOTAS.values(), ALIASES_A_BASE, SIGN_UPS_A_DAY, MIN_FREE_MB or 0) < 0:
    raise ImproperlyConfigured("A HUB_QUOTA_… or HUB_MIN_FREE_MB is negative: use a whole number, 0 for no limit")


def _kept(name: str, default: int, *, fewest: int = 0) -> int:
    """A time to keep things, in whole days or hours."""
    value = env_int(name, default)
    if value < fewest:
        least = "0 keeps them for ever" if fewest == 0 else f"at least {fewest}"
        raise ImproperlyConfigured(f"{name}={value}: use a whole number; {least}")
    return value


# Upkeep: what is kept how long. 0 days is for ever.
KEEP_UPLOADS_DAYS = _kept("HUB_KEEP_UPLOADS_DAYS", 7)
KEEP_TRASH_DAYS = _kept("HUB_KEEP_TRASH_DAYS", 30)
KEEP_JOB_FILES_DAYS = _kept("HUB_KEEP_JOB_FILES_DAYS", 1)
KEEP_JOB_LOGS_DAYS = _kept("HUB_KEEP_JOB_LOGS_DAYS", 365)
KEEP_JOBS_DAYS = _kept("HUB_KEEP_JOBS_DAYS", 0)
KEEP_EVENTS_DAYS = _kept("HUB_KEEP_EVENTS_DAYS", 0)
KEEP_DELIVERIES_DAYS = _kept("HUB_KEEP_DELIVERIES_DAYS", 30)
KEEP_OUTBOX_DAYS = _kept("HUB_KEEP_OUTBOX_DAYS", 7)
KEEP_UNUSED_HOURS = _kept("HUB_KEEP_UNUSED_HOURS", 24, fewest=1)
# Bundles: public keys of the hubs whose bundles are imported without asking.
TRUSTED_KEYS = env_list("HUB_TRUSTED_KEYS", "")
