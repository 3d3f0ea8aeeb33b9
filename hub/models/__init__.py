"""What is stored: one noun a file, one mechanism for everything that is versioned."""

from .accounts import Membership, Namespace, RecoveryCode, Role, SecondFactor, Token, User
from .arrivals import Arrival, ChunkStore, Transfer
from .audit import Event
from .bases import BaseAlias, BaseFile, BaseModel, fold
from .blobs import Blob, StagedPart, Upload, UploadFile
from .companions import Companion
from .evaluations import Evaluation
from .identities import Identity
from .jobs import (
    ADAPTER,
    ALLOWED,
    DATASET,
    FINAL,
    HELD,
    Job,
    JobCheckpoint,
    JobFile,
    JobInput,
    JobLog,
    Priority,
    State,
    WorkerNode,
)
from .outbox import Outbox, OutboxLane
from .quotas import Quota, SignUps, Stored, Usage
from .repositories import (
    Gate,
    Kind,
    Origin,
    ProtectedRef,
    Ref,
    RefKind,
    RefMove,
    Repository,
    Visibility,
    path_of,
    sharing_names,
)
from .revisions import ManifestEntry, Parentage, Revision, Version, heavy
from .search import CardWord, FacetChange, FacetCount, RepositoryTag, SearchEntry, SearchWord, name_words, words_of
from .sharing import AccessRequest, AccessState, FormerName, PullRequest, PullState
from .upkeep import SiteKey, UpkeepTask
from .webhooks import Delivery, DeliveryState, Webhook

__all__ = [
    "ADAPTER",
    "ALLOWED",
    "DATASET",
    "FINAL",
    "HELD",
    "AccessRequest",
    "AccessState",
    "Arrival",
    "BaseAlias",
    "BaseFile",
    "BaseModel",
    "Blob",
    "CardWord",
    "ChunkStore",
    "Companion",
    "Delivery",
    "DeliveryState",
    "Evaluation",
    "Event",
    "FacetChange",
    "FacetCount",
    "FormerName",
    "Gate",
    "Identity",
    "Job",
    "JobCheckpoint",
    "JobFile",
    "JobInput",
    "JobLog",
    "Kind",
    "ManifestEntry",
    "Membership",
    "Namespace",
    "Origin",
    "Outbox",
    "OutboxLane",
    "Parentage",
    "Priority",
    "ProtectedRef",
    "PullRequest",
    "PullState",
    "Quota",
    "RecoveryCode",
    "Ref",
    "RefKind",
    "RefMove",
    "Repository",
    "RepositoryTag",
    "Revision",
    "Role",
    "SearchEntry",
    "SearchWord",
    "SecondFactor",
    "SignUps",
    "SiteKey",
    "StagedPart",
    "State",
    "Stored",
    "Token",
    "Transfer",
    "UpkeepTask",
    "Upload",
    "UploadFile",
    "Usage",
    "User",
    "Version",
    "Visibility",
    "Webhook",
    "WorkerNode",
    "fold",
    "heavy",
    "name_words",
    "path_of",
    "sharing_names",
    "words_of",
]
