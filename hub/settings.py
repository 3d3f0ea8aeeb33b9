"""All settings, from the environment. With nothing set, a laptop runs on SQLite, a local folder and embedded Valkey.

Every variable is in the table of docs/settings.md.
"""

from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from hub.bounds import *  # noqa: F403  what may be used and what is kept, each setting by its name
from hub.env import env, env_bool, env_int, env_list, env_networks, mail_settings
from hub.front.limits import Limits
from hub.logs import configuration
from hub.oidc import provider
from hub.sealed.keys import old_secret_keys, secret_key
from hub.shared.cache import caches
from hub.shared.database import connection_settings, require_known

ROOT = Path(__file__).resolve().parent.parent
HUB_DATA = Path(env("HUB_DATA", str(ROOT / "data"))).resolve()
HUB_DATA.mkdir(parents=True, exist_ok=True)

DEBUG = env_bool("HUB_DEBUG", False)
ALLOWED_HOSTS = env_list("HUB_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1],testserver")
CSRF_TRUSTED_ORIGINS = env_list("HUB_TRUSTED_ORIGINS", "")
# Signing in: whose word on the client's address is taken, the hub's own address, mails, and links in them.
TRUSTED_PROXIES = env_networks("HUB_TRUSTED_PROXIES", "")
HUB_URL = env("HUB_URL").rstrip("/")
HUB_EMAIL_URL = env("HUB_EMAIL_URL")
DEFAULT_FROM_EMAIL = env("HUB_EMAIL_FROM")
globals().update(mail_settings(HUB_EMAIL_URL, DEFAULT_FROM_EMAIL, HUB_URL))
PASSWORD_RESET_TIMEOUT = env_int("HUB_RESET_LINK_MINUTES", 60) * 60
OIDC = provider()
SIGN_UP_OPEN = env_bool("HUB_SIGN_UP_OPEN", True)

# Prefixes of names of bases, such as `Qwen/`, below which administrators alone register; `none` reserves nothing.
OFFICIAL_BASES = """
01-ai/, allenai/, apple/, baidu/, bigcode/, bigscience/, ByteDance-Seed/, CohereLabs/, databricks/, deepseek-ai/,
EleutherAI/, facebook/, google/, HuggingFaceTB/, ibm-granite/, internlm/, meta-llama/, microsoft/, MiniMaxAI/,
mistralai/, moonshotai/, nvidia/, openai/, openai-community/, Qwen/, stabilityai/, swiss-ai/, tencent/, THUDM/, tiiuae/,
utter-project/, xai-org/, zai-org/
""".replace("\n", " ")
RESERVED_BASES = [word for word in env_list("HUB_RESERVED_BASES", OFFICIAL_BASES) if word != "none"]
SECRET_KEY = secret_key(HUB_DATA)
SECRET_KEY_FALLBACKS = old_secret_keys(HUB_DATA)

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "hub",
]
MIDDLEWARE = [
    "hub.http.peer.ForwardedProtocol",
    "hub.http.observing.Observing",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "hub.http.origin.KeepAddress",
    "hub.web.middleware.ContentSecurityPolicy",
    "hub.web.middleware.RefusalPages",
    "hub.web.middleware.NoNul",
]
ROOT_URLCONF = "hub.urls"
WSGI_APPLICATION = "hub.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "hub.web.context.frame",
            ],
            "builtins": ["hub.web.tags", "django.templatetags.static"],
        },
    },
]

SQLITE_URL = f"sqlite:///{HUB_DATA / 'hub.sqlite3'}"
DATABASES = {
    "default": dj_database_url.parse(
        require_known(env("DATABASE_URL", SQLITE_URL)), conn_max_age=60, conn_health_checks=True
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Writers queue for the lock at BEGIN instead of failing in the middle; readers never wait in WAL mode.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # A server that vanished without a word is noticed within a minute; the URL's own options come first.
    patience = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
    patience["tcp_user_timeout"] = 50_000  # Milliseconds, for what was sent and is not acknowledged.
    DATABASES["default"]["OPTIONS"] = patience | DATABASES["default"].get("OPTIONS", {})
    DATABASES["default"] |= connection_settings(
        env_int("HUB_DATABASE_CONNECTIONS", 16),
        pooler=env_bool("HUB_DATABASE_POOLER", False),
        there=DATABASES["default"],
    )


def _embedded_redis() -> str:
    """The address of the Valkey that `manage.py up` runs over this data folder, where it does."""
    note = HUB_DATA / "valkey" / "url"
    return note.read_text().strip() if note.exists() else "redis://127.0.0.1:6399/0"


REDIS_URL = env("REDIS_URL") or _embedded_redis()
if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured(f"REDIS_URL begins with {REDIS_URL[:10]!r}: use redis://host:6379/0")
CACHES = caches(env("REDIS_URL"))


def _blob_storage(url: str) -> dict:
    """Django's storage for blobs: `file:///folder` or `s3://bucket/prefix` with `STORAGE_ENDPOINT`."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": parts.path, "base_url": None},
        }
    if parts.scheme == "s3":
        options = {"bucket_name": parts.netloc, "location": parts.path.strip("/")}
        if env("STORAGE_ENDPOINT"):
            options["endpoint_url"] = env("STORAGE_ENDPOINT")
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    raise ImproperlyConfigured(f"STORAGE_URL={url!r}: use file:///folder or s3://bucket/prefix")


STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": HUB_DATA / "files"}},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    "blobs": _blob_storage(env("STORAGE_URL", f"file://{HUB_DATA / 'blobs'}")),
}
UPLOAD_FOLDER = HUB_DATA / "uploads"
CARD_CACHE = HUB_DATA / "cards"
MAX_FILE_BYTES = env_int("HUB_MAX_FILE_MB", 20_000) * 1_000_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 5_000_000
STATIC_URL = "static/"
STATIC_ROOT = HUB_DATA / "static"
STATICFILES_DIRS = [ROOT / "static"]

AUTH_USER_MODEL = "hub.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "hub.services.signing_in.passwords.StandsByItself"},
]
CSRF_FAILURE_VIEW = "hub.web.views.errors.csrf_failure"
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "browse"
LOGOUT_REDIRECT_URL = "browse"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
HTTPS = env_bool("HUB_HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "hub.http.authentication.TokenAuthentication",
        "hub.http.authentication.SessionAuthentication",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hub.api.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Adapter hub",
    "DESCRIPTION": "Store, version, merge and evaluate LoRA adapters.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "RepositoryKind": "hub.models.Kind",
        "RefKind": "hub.models.RefKind",
        "StateEnum": "hub.models.State",
        "DeliveryState": "hub.models.DeliveryState",
        "PullState": "hub.models.PullState",
        "AccessState": "hub.models.AccessState",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "hub.api.schema.add_problems",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# A job's lease: a worker renews it while it lives; the reaper takes back what was not renewed.
JOB_LEASE_SECONDS = env_int("HUB_JOB_LEASE_SECONDS", 30)
# Redelivery by the broker is only the second net, behind the reaper, and must never fire on a job that is alive.
BROKER_VISIBILITY_SECONDS = env_int("HUB_BROKER_VISIBILITY_SECONDS", 7 * 24 * 3600)
# What a training job resumes from goes to the store this often, where that is not a folder of this machine.
CHECKPOINT_SECONDS = env_int("HUB_CHECKPOINT_SECONDS", 120 if env("STORAGE_URL").startswith("s3:") else 0)
CHECKPOINT_BYTES = env_int("HUB_CHECKPOINT_MB", 5_000) * 1_000_000
WORKER_STUCK_SECONDS = env_int("HUB_WORKER_STUCK_SECONDS", 60)
WORKER_BASES = env("HUB_BASES", str(HUB_DATA / "bases"))
WORKER_OFFERS = env_bool("HUB_WORKER_OFFERS", True)
WORKER_CACHE = env("HUB_WORKER_CACHE", str(HUB_DATA / "worker-cache"))
WORKER_CACHE_MB = env_int("HUB_WORKER_CACHE_MB", 20_000)
WORKER_GPUS = env_list("HUB_GPUS", "")
WORKER_BASE_CACHE = env("HUB_BASE_CACHE", str(HUB_DATA / "base-cache"))
WORKER_BASE_CACHE_MB = env_int("HUB_BASE_CACHE_MB", 100_000)
WORKER_MODEL_MB = env_int("HUB_WORKER_MODEL_MB", 8_000)
WORKER_THREADS = env_int("HUB_WORKER_THREADS", 2)
TRAINING_PROCESSES = env_int("HUB_TRAINING_PROCESSES", 0)  # 0: one a GPU

# What watches the hub.
METRICS_TOKEN = env("HUB_METRICS_TOKEN")
LOG_FORMAT = env("HUB_LOG_FORMAT", "text")
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured(f"HUB_LOG_FORMAT={LOG_FORMAT!r}: use 'text' or 'json'")
LOGGING = configuration(form=LOG_FORMAT, level=env("HUB_LOG_LEVEL", "INFO"))

# Webhooks: networks that they may reach beside the public internet.
WEBHOOK_NETWORKS = env_networks("HUB_WEBHOOK_NETWORKS", "")

# The mirror: bases that are not here are fetched from there, off without both. See docs/bases.md.
MIRROR = env("HUB_MIRROR").rstrip("/")
MIRROR_ALLOW = env_list("HUB_MIRROR_ALLOW", "")
MIRROR_HOSTS = env_list("HUB_MIRROR_HOSTS", "huggingface.co,*.huggingface.co,*.hf.co")
MIRROR_NETWORKS = env_networks("HUB_MIRROR_NETWORKS", "")
MIRROR_BYTES = env_int("HUB_MIRROR_MB", 50_000) * 1_000_000
MIRROR_SECONDS = env_int("HUB_MIRROR_SECONDS", 7_200)
if MIRROR and not MIRROR.startswith("https://") and not (MIRROR.startswith("http://") and MIRROR_NETWORKS):
    raise ImproperlyConfigured(f"HUB_MIRROR={MIRROR!r}: use https://host, or http with HUB_MIRROR_NETWORKS")

# Behind HTTPS; see docs/serving.md. `hub.http.peer` takes X-Forwarded-Proto away from whom we don't trust, and without
# a trusted proxy no request could ever look like HTTPS, so that a redirect would go round in circles.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = HTTPS and env_bool("HUB_HTTPS_REDIRECT", bool(TRUSTED_PROXIES))
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = env_int("HUB_HSTS_SECONDS", 365 * 24 * 3600 if HTTPS else 0)


def _positive(name: str, default: int) -> int:
    value = env_int(name, default)
    if value < 1:
        raise ImproperlyConfigured(f"{name}={value}: use a number above 0")
    return value


# The front of the web server; see docs/serving.md.
SPOOL_FOLDER = HUB_DATA / "spool"
SPOOL_FOLDER.mkdir(exist_ok=True)
FRONT = Limits(
    threads=_positive("HUB_WEB_THREADS", 32),
    waiting=_positive("HUB_WEB_WAITING", 256),
    connections=_positive("HUB_WEB_REQUESTS", 4000),
    per_address=_positive("HUB_WEB_PER_ADDRESS", 200),
    per_user=_positive("HUB_WEB_PER_USER", 100),
    grace=_positive("HUB_WEB_GRACE_SECONDS", 10),
    rate=_positive("HUB_WEB_LEAST_RATE", 1024),
    memory=_positive("HUB_WEB_MEMORY_MB", 256) * 1_000_000,
    spool=_positive("HUB_WEB_SPOOL_MB", 50_000) * 1_000_000,
    spool_folder=str(SPOOL_FOLDER),
    form=_positive("HUB_MAX_FORM_MB", 100) * 1_000_000,
    file=MAX_FILE_BYTES,
    trusted=tuple(TRUSTED_PROXIES),
)
