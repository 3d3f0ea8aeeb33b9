"""Making an adapter from texts by a generator: which one writes, what it reads, and states that add up.

Beside the texts a generation has inputs with a role of their own: `generator`, which writes, and `onto` and `without`,
generated adapters whose kept states the texts are added to, or which are taken away. A state stands beside the adapter
it came from, as the companion state/vN.safetensors; who can't see that one can't add to its adapter.
"""

from collections import Counter
from collections.abc import Mapping

from composition.recipes import GenerateRecipe
from composition.recipes.method import Method
from hub import access
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import BaseModel, Kind, Version, Visibility
from hub.models.companions import CONTEXT, STATE
from hub.queries import generator as generators
from hub.services.content.manifest import Entry
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given
from hub.services.jobs.kinds.base import ITEMSIZE, JobKind, Role, parameters_of, speed_of
from hub.services.jobs.request import JobRequest
from hub.services.jobs.texts import ReadTexts, documents_of, given_text
from hub.services.parsing.documents import MOST_TEXT

GENERATOR, ONTO, WITHOUT = "generator", "onto", "without"
GENERATOR_ROLE = Role(name=GENERATOR, kind=Kind.GENERATOR, help="default: the base's newest")
# Rough, for one core and fp32, measured on a 135M base; good to a factor of 3.
READ = 1.2e11
SECONDS_TO_START = 2.0


class Generate(JobKind):
    """Texts and a generator in, one LoRA out; private unless asked otherwise, as the text can be read out of it."""

    recipe = GenerateRecipe
    roles = (
        GENERATOR_ROLE,
        Role(name=ONTO, kind=Kind.ADAPTER, help="a generated adapter that a text is added to"),
        Role(name=WITHOUT, kind=Kind.ADAPTER, help="a generated adapter that is removed"),
    )
    keeps = (CONTEXT, STATE)

    def completed(self, viewer: Viewer, request: JobRequest) -> JobRequest:
        """With the generator behind the adapters, or the base's newest, and the generator's base."""
        found = request.others
        if GENERATOR not in found:
            kept = ONTO in found or WITHOUT in found
            found[GENERATOR] = _behind(viewer, found) if kept else _newest(viewer, request.base)
        inputs = {**request.inputs, **{role: (version,) for role, version in found.items()}}
        return with_base(request.replace(inputs=inputs))

    def check(self, draft: Draft) -> None:
        check_generator(draft)
        request, others = draft.request, draft.request.others
        if request.datasets:
            raise Invalid("A generation reads texts, not datasets: send them as files.context.", field="datasets")
        for role in (ONTO, WITHOUT):
            if role in others:
                _check_state(draft.viewer, others[role], role, others[GENERATOR])
        if WITHOUT in others and ONTO not in others:
            raise Invalid("Give the adapter to remove it from (onto).", field=ONTO)

    def received(self, request: JobRequest) -> JobRequest:
        if CONTEXT not in request.files:
            return request
        return request.replace(files={**request.files, CONTEXT: ReadTexts(request.files[CONTEXT])})

    def file_roles(self, method: Method) -> tuple[str, ...]:
        return (CONTEXT,)

    def check_file_roles(self, draft: Draft) -> None:
        for role in draft.request.files:
            if role != CONTEXT:
                raise Invalid(f"A generation has no file {role!r}; it takes: {CONTEXT}.", field="files")

    def find_files(self, draft: Draft) -> list[Given]:
        """The texts, and the kept states of `onto` and `without`. Errors: `generate.empty`, `generate.no_state`."""
        others = draft.request.others
        given = [given_text(document) for document in documents_of(draft.request.files.get(CONTEXT))]
        for file in given:
            draft.recipe.check_text(file.data.decode())
        if sum(len(file.data) for file in given) > 2 * MOST_TEXT:
            raise Invalid(f"The texts are longer than {2 * MOST_TEXT:,} bytes together. Give fewer.", field="files")
        states = [_state(draft.viewer, others[role], role) for role in (ONTO, WITHOUT) if role in others]
        if not given and WITHOUT not in others:
            raise Invalid(
                "Give a text that the adapter should know, as files.context.", field="files", code="generate.empty"
            )
        return [*given, *states]

    def check_files(self, draft: Draft) -> None:
        """Refuse a text too long by any count of its tokens, `generate.too_long`, and a state that holds no other."""
        states = {file.name: file for file in draft.given_as(STATE)}
        if len(states) == 2:
            _check_part(states[ONTO], states[WITHOUT])
        sees = (draft.request.base.config if draft.request.base else {}).get("max_position_embeddings")
        for file in draft.given_as(CONTEXT):
            draft.recipe.check_length(file.facts["tokens_about"] // 2, sees if isinstance(sees, int) else None)

    def parents(self, request: JobRequest) -> list[Version]:
        return list(request.others.values())

    def visibility(self, asked: str | None) -> str | None:
        return asked or Visibility.PRIVATE

    def why_private(self) -> str:
        return "what is made from a text is private unless you ask for a public adapter"

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        """Who writes, what is not read, who will be able to read the text."""
        writer, tokens = draft.request.others.get(GENERATOR), _tokens(draft)
        said = [f"Written by {writer}." if writer else ""]
        if tokens > draft.recipe.max_tokens:
            most = draft.recipe.max_tokens
            said.append(f"The texts have about {tokens:,} tokens, but only {most:,} are read.")
        if visibility == Visibility.PUBLIC:
            said.append("The adapter will be public: parts of the text can be read out of it.")
        return [line for line in said if line]

    def cost(self, draft: Draft) -> dict[str, object]:
        facts, parameters = draft.request.others[GENERATOR].facts, parameters_of(draft.base)
        faster = speed_of(draft.method)
        seconds = SECONDS_TO_START + 2 * parameters * _tokens(draft) / READ / faster
        return {
            "rank": facts["adapter_rank"],
            "bytes": facts["adapter_parameters"] * ITEMSIZE[draft.recipe.dtype],
            "seconds": round(seconds, 1),
            "memory": int(parameters * 4 * 1.3 + facts["parameters"] * 4),
        }


def with_base(request: JobRequest) -> JobRequest:
    """With the generator's base where none is named; Invalid where neither is."""
    generator = request.others.get(GENERATOR)
    base = request.base or (generator and generator.base)
    if base is None:
        raise Invalid("The generator names no base. Give the base that its adapters are for.", field="base")
    return request.replace(base=base)


def check_generator(draft: Draft) -> None:
    """Refuse adapters as inputs, and a generator of another base."""
    if draft.request.adapters:
        raise Invalid(f"{draft.method.label} takes no adapters as inputs.", field="inputs")
    generator, base = draft.request.others.get(GENERATOR), draft.request.base
    if generator and generator.base_id != base.pk:
        raise Invalid(
            f"{generator} writes adapters for {generator.base}, not for {base}. Choose a generator of {base}, or leave "
            "it out for the newest.",
            field=GENERATOR,
            code="generator.other_base",
        )


def _tokens(draft: Draft) -> int:
    return sum(file.facts["tokens_about"] for file in draft.given_as(CONTEXT))


def _check_state(viewer: Viewer, version: Version, role: str, generator: Version | None) -> None:
    behind = generators.generator_behind(version)
    if behind is None:
        raise Invalid(f"{version} was not generated from a text; {role} takes a generated adapter.", field=role)
    if generator and behind.content_digest != generator.content_digest:
        named = behind if generators.seen(viewer, [behind]) else "another generator"
        raise Invalid(
            f"{version} was written by {named}, not by {generator}. States add up within one generator only.",
            field=role,
            code="state.other_generator",
        )


def _check_part(onto: Given, without: Given) -> None:
    """Refuse to take away texts that were never added: their state would be subtracted all the same."""
    left = Counter(onto.facts.get("texts", []))
    left.subtract(without.facts.get("texts", []))
    if any(count < 0 for count in left.values()):
        raise Invalid(
            "The adapter to remove knows texts that were never added. Remove only what was added.",
            field=WITHOUT,
            code="state.not_part",
        )


def _state(viewer: Viewer, version: Version, role: str) -> Given:
    rows = access.companions(viewer, version.repository).filter(kind=STATE)
    row = rows.filter(name=f"{version.label}.safetensors").first()
    if row is None:
        raise Invalid(
            f"{version} keeps no state that you can see, so no text can be added to it or removed. Generate it "
            "again with --keep-state.",
            field=role,
            code="generate.no_state",
        )
    return Given(role=STATE, name=role, entry=Entry(row.blob_id, row.blob.size), facts=row.facts, companion=row.pk)


def _behind(viewer: Viewer, others: Mapping[str, Version]) -> Version:
    role = ONTO if ONTO in others else WITHOUT
    version = others[role]
    behind = generators.generator_behind(version)
    if behind is None or not generators.seen(viewer, [behind]):
        raise Invalid(f"{version} was not generated by a generator that you can see.", field=role)
    return behind


def _newest(viewer: Viewer, base: BaseModel | None) -> Version:
    if base is None:
        raise Invalid("Give the base of the new adapter.", field="base")
    found = generators.generators_of(viewer, base)
    if not found:
        raise Invalid(
            f"{base} has no generator yet, or none that you can see. Train one, once for the base: "
            f"hubctl generator train --base {base.name} --text FOLDER --to NAMESPACE/generator",
            field="base",
            code="generate.no_generator",
            base=str(base),
        )
    return found[0]


HOME = Generate()
