"""Pico material for hub tests, made in milliseconds and without torch: people, a base, adapters, datasets, pushes.

`pico_shapes` are the shapes of a two-layer Llama of `PICO_CONFIG`; a test that has torch may build that model.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save

from hub.models import BaseModel, Kind, Namespace, Repository, Upload, User, Version
from hub.services import accounts, known_bases, repositories
from hub.services.content import publishing, uploads
from hub.services.content.publishing import PublishResult
from hub.storage import blobs

PASSWORD = "correct horse battery"
PICO_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
PICO_LINEARS = {
    "self_attn.q_proj": [16, 16],
    "self_attn.k_proj": [8, 16],
    "self_attn.v_proj": [8, 16],
    "self_attn.o_proj": [16, 16],
    "mlp.gate_proj": [32, 16],
    "mlp.up_proj": [32, 16],
    "mlp.down_proj": [16, 32],
}


def pico_shapes(layers: int = 2) -> dict[str, list[int]]:
    """Weight name → [out, in] of the pico base, as `composition.running.base_models.module_shapes` gives them."""
    shapes = {"model.embed_tokens": [64, 16], "lm_head": [64, 16]}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in PICO_LINEARS.items()}
    return shapes


def make_user(username: str = "ada", *, is_staff: bool = False) -> User:
    """A user with their own namespace; signs in with PASSWORD. `is_staff` makes them an administrator of the site."""
    fields = {"email": f"{username}@example.org", "is_staff": is_staff}
    return accounts.create_user(username=username, password=PASSWORD, **fields)


def make_organisation(name: str = "lab", *, admin: User, **roles: User) -> Namespace:
    """An organisation; further members by role: `writer=bob, reader=eve`."""
    namespace = accounts.create_organisation(actor=admin, name=name, display_name=name.title())
    for role, user in roles.items():
        accounts.set_role(actor=admin, namespace=namespace, user=user, role=role)
    return namespace


def make_people() -> SimpleNamespace:
    """The roles every rule is tested in: owner (admin), member (writer) and reader of `lab`, and a stranger."""
    owner, member, reader, stranger = (make_user(name) for name in ("owner", "member", "reader", "stranger"))
    lab = make_organisation("lab", admin=owner, writer=member, reader=reader)
    return SimpleNamespace(owner=owner, member=member, reader=reader, stranger=stranger, lab=lab)


def make_base(name: str = "pico/llama", *, ready: bool = True, **fields: object) -> BaseModel:
    """The pico base, with its shapes unless `ready` is False. No job is queued."""
    base = BaseModel.objects.create(name=name, config=PICO_CONFIG, **fields)
    if not ready:
        return base
    shapes = pico_shapes()
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    return known_bases.set_shapes(base=base, shapes=shapes, fingerprint=digest, parameters=count)


def make_repository(
    owner: User,
    name: str = "sentiment",
    *,
    namespace: Namespace | None = None,
    kind: str = Kind.ADAPTER,
    **fields: object,
) -> Repository:
    """An empty repository in the user's own namespace, or in the given one."""
    namespace = namespace or owner.namespace
    return repositories.create_repository(actor=owner, namespace=namespace, name=name, kind=kind, **fields)


def adapter_tensors(
    *,
    rank: int = 4,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    layers: int = 2,
    seed: int = 0,
    dtype: str = "float32",
    ranks: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """peft's tensor name → array, B not zero; `ranks` overrides the rank by target."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for name, (out, into) in PICO_LINEARS.items():
            target = name.rpartition(".")[2]
            if target in targets:
                r = (ranks or {}).get(target, rank)
                stem = f"base_model.model.model.layers.{layer}.{name}"
                tensors[f"{stem}.lora_A.weight"] = rng.standard_normal((r, into)).astype(dtype)
                tensors[f"{stem}.lora_B.weight"] = (0.1 * rng.standard_normal((out, r))).astype(dtype)
    return tensors


def adapter_files(
    *,
    rank: int = 4,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    seed: int = 0,
    base_name: str | None = "pico/llama",
    card: str | bytes | None = None,
    config: Mapping[str, object] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    dtype: str = "float32",
) -> dict[str, bytes]:
    """The files of a valid pico adapter; `config` overrides fields of its adapter_config.json."""
    fields = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(targets),
        "bias": "none",
        **(config or {}),
    }
    if tensors is None:
        tensors = adapter_tensors(rank=rank, targets=targets, seed=seed, dtype=dtype)
    files = {
        "adapter_config.json": json.dumps(fields, indent=2).encode(),
        "adapter_model.safetensors": save(dict(tensors), metadata={"format": "pt"}),
    }
    if card is not None:
        files["README.md"] = card if isinstance(card, bytes) else card.encode()
    return files


def dataset_files(rows: int = 4, split: str = "test", *, choices: bool = False) -> dict[str, bytes]:
    """One JSONL file of prompts and completions."""
    lines = []
    for number in range(rows):
        row = {"prompt": f"{number} + 1 =", "completion": f" {number + 1}"}
        if choices:
            row["choices"] = [f" {number + 1}", f" {number + 2}"]
        lines.append(json.dumps(row))
    return {f"{split}.jsonl": ("\n".join(lines) + "\n").encode()}


def promise(files: Mapping[str, bytes]) -> list[dict]:
    """What a client says of its files before it sends them."""
    return [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()
    ]


def begin(user: User, repository: Repository, files: Mapping[str, bytes], **options: object) -> Upload:
    """An upload begun, nothing sent."""
    return uploads.begin_upload(actor=user, repository=repository, files=promise(files), **options)


def send(upload: Upload, files: Mapping[str, bytes]) -> None:
    """Send what the server hasn't got."""
    for row in uploads.refresh(upload):
        if row.received < row.size:
            rest = files[row.path][row.received :]
            uploads.append(upload=upload, path=row.path, offset=row.received, stream=io.BytesIO(rest))


def push(user: User, repository: Repository, files: Mapping[str, bytes], **options: object) -> PublishResult:
    """Begin, send and commit, as `hubctl push` does."""
    upload = begin(user, repository, files, **options)
    send(upload, files)
    return uploads.commit_upload(actor=user, upload=upload)


def store(files: Mapping[str, bytes]) -> dict[str, tuple[str, int]]:
    """The bytes in the blob store, as `publish` wants them: path → (sha256, size)."""
    return {path: blobs.put(io.BytesIO(data)) for path, data in files.items()}


def publish(user: User, repository: Repository, files: Mapping[str, bytes], **options: object) -> PublishResult:
    """Publish as a worker does: bytes stored first, no upload."""
    return publishing.publish(actor=user, repository=repository, files=store(files), **options)


def make_version(user: User, name: str = "sentiment", *, base: BaseModel | None = None, **options: object) -> Version:
    """A repository with one valid adapter version; `visibility` goes to the repository, the rest to `adapter_files`."""
    fields = {key: options.pop(key) for key in ("visibility", "namespace") if key in options}
    repository = make_repository(user, name, **fields)
    return publish(user, repository, adapter_files(**options), base=base).version


def generator_files(
    *, seed: int = 0, base_name: str = "pico/llama", layers: int = 2, **config: object
) -> dict[str, bytes]:
    """The files of a valid pico generator on o_proj, all its tensors random; `config` overrides fields."""
    sizes = {"hidden": 16, "in_features": 16, "out_features": 16, "inner": 6, "r": 5, "rank": 4, "alpha": 5.0}
    modules = [f"model.layers.{layer}.self_attn.o_proj" for layer in range(layers)]
    curve = [{"step": n, "loss": 5.0 - n, "gap_completion": 0.1 * n, "gap_reconstruction": 0.2 * n} for n in (1, 2)]
    fields = {
        "format_version": 1,
        "base_model": base_name,
        "modules": modules,
        **sizes,
        "training": {"steps": 2, "tokens": 64, "curve": curve},
        **config,
    }
    rng = np.random.default_rng(seed)
    shapes = {"A1": (6, 16), "A2": (6, 16), "A3": (5, 16), "B": (16, 5), "norm": (16,)}
    tensors = {
        f"{module}.{part}": rng.standard_normal(shape).astype("float32")
        for module in modules
        for part, shape in shapes.items()
    }
    return {"generator_config.json": json.dumps(fields).encode(), "generator.safetensors": save(tensors)}


def make_generator(user: User, name: str = "gen", *, base: BaseModel | None = None, **options: object) -> Version:
    """A repository with one valid generator version."""
    fields = {key: options.pop(key) for key in ("visibility", "namespace") if key in options}
    repository = make_repository(user, name, kind=Kind.GENERATOR, **fields)
    return publish(user, repository, generator_files(**options), base=base).version
