"""What is stored: one noun a file, one mechanism for everything that is versioned."""

from .accounts import Membership, Namespace, RecoveryCode, Role, SecondFactor, Token, User
from .audit import Event
from .bases import BaseAlias, BaseModel, fold
from .blobs import Blob, Upload, UploadFile
from .companions import Companion
from .evaluations import Evaluation
from .identities import Identity
from .jobs import ADAPTER, ALLOWED, DATASET, FINAL, HELD, Job, JobFile, JobInput, JobLog, State, WorkerNode
from .outbox import Outbox, OutboxLane
from .quotas import Quota, SignUps, Stored, Usage
from .repositories import (
    Kind,
    Origin,
    ProtectedRef,
    Ref,
    RefKind,
    RefMove,
    Repository,
    RepositoryTag,
    Visibility,
    path_of,
    sharing_names,
)
from .revisions import ManifestEntry, Parentage, Revision, Version
from .upkeep import UpkeepTask
from .webhooks import Delivery, DeliveryState, Webhook

__all__ = [
    "ADAPTER",
    "ALLOWED",
    "DATASET",
    "FINAL",
    "HELD",
    "BaseAlias",
    "BaseModel",
    "Blob",
    "Companion",
    "Delivery",
    "DeliveryState",
    "Evaluation",
    "Event",
    "Identity",
    "Job",
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
    "ProtectedRef",
    "Quota",
    "RecoveryCode",
    "Ref",
    "RefKind",
    "RefMove",
    "Repository",
    "RepositoryTag",
    "Revision",
    "Role",
    "SecondFactor",
    "SignUps",
    "State",
    "Stored",
    "Token",
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
    "path_of",
    "sharing_names",
]
