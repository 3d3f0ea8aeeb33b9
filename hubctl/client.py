"""The hub's REST interface as a Python class: one method a route, names as `namespace/name[@ref]`.

    hub = Hub("http://127.0.0.1:8000", token="ah_…")
    job = hub.queue_job("lego", inputs=["demo/a@v1", "demo/b"], output="demo/ab", recipe={"rank": 16})
    hub.wait(job["id"])
    hub.pull("demo/ab@v1", "out/")

Every method returns the hub's JSON and raises `hubctl.errors.HubctlError` where the hub refuses.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.errors import Refused
from hubctl.importing.base_calls import Bases
from hubctl.people import People
from hubctl.requests import DATASETS, job_body, part_query, plain, ref_part, split, version_path
from hubctl.transport import AWAY_SECONDS, Transport

if TYPE_CHECKING:
    from hubctl.companions import Companions
    from hubctl.protections import Protections


class Hub(Bases, People):
    """One hub and one user. `token` is needed for anything private and for writing. A hub that says that it can't
    answer now is asked again for `patience` seconds."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout: float = 60.0, patience: float = AWAY_SECONDS
    ) -> None:
        self.transport = Transport(url, token, timeout=timeout, patience=patience)
        self.url = self.transport.url

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    # Repositories

    def repositories(self, *, limit: int = 50, **filters: Any) -> list[dict[str, Any]]:
        """Up to `limit` of them. Filters: kind, search, base, peft_type, rank, license, origin, tag, owner, ref, sort.

        With `ref`, those that have this tag, branch or version; their `at` says what it stands for.
        """
        return list(self._pages("/repositories", limit, **filters))

    def repository(self, name: str) -> dict[str, Any]:
        """One repository."""
        return self._get(f"/repositories/{plain(name)}")

    def create_repository(
        self, name: str, kind: str | None = None, *, private: bool = False, description: str = ""
    ) -> dict:
        """A new, empty repository; without a kind that of an adapter, or of a dataset where `datasets/` says so."""
        path = plain(name)
        namespace, short = path.removeprefix(DATASETS).split("/")
        usual = "dataset" if path.startswith(DATASETS) else "adapter"
        if path.startswith(DATASETS) and kind not in (None, usual):
            raise Refused(f"{name} names a dataset, not one of kind {kind}; write {namespace}/{short}.")
        body = {"namespace": namespace, "name": short, "kind": kind or usual, "description": description}
        return self._post("/repositories", {**body, "visibility": "private" if private else "public"})

    def delete_repository(self, name: str) -> None:
        """Move it to the trash, from where `restore_repository` brings it back."""
        self._delete(f"/repositories/{plain(name)}")

    def restore_repository(self, name: str) -> dict[str, Any]:
        """Bring a deleted repository back."""
        return self._post(f"/repositories/{plain(name)}/restore", {})

    def versions(self, name: str) -> list[dict[str, Any]]:
        """All versions, newest first."""
        return list(self._pages(f"/repositories/{plain(name)}/versions"))

    def version(self, name: str) -> dict[str, Any]:
        """One version (`@ref`, or the latest) with facts, parents, children, recipe, report, evaluations."""
        return self._get(version_path(name))

    def files(
        self, name: str, *, expert: str | None = None, form: str | None = None, uniform: bool | None = None
    ) -> dict[str, Any]:
        """{"revision", "version", "files": [{"path", "size", "sha256"}]} of `@ref`, or of the newest.

        Of a mixture: the files of one `expert`, or with `form="cat"` of the plain LoRA that sums all of them. With
        `uniform` those of the form that every server reads right; False keeps `form="cat"` compact.
        """
        found = self._get(version_path(name, "files") + part_query(expert, form, uniform))
        if uniform and "uniform" not in found.get("forms", ()):
            raise Refused("this hub is too old to write the uniform form. Pull without it, or ask for an update.")
        return found

    def refs(self, name: str) -> Any:
        """Branches and tags."""
        return self._get(f"/repositories/{plain(name)}/refs")

    def set_tag(self, name: str, tag: str) -> Any:
        """Point `tag` at the revision `name@ref`."""
        path, ref = split(name)
        return self.transport.json("PUT", f"/repositories/{path}/tags/{ref_part(tag)}", json={"ref": ref or "latest"})

    def delete_tag(self, name: str, tag: str) -> None:
        """Delete a tag; the revision stays."""
        self._delete(f"/repositories/{plain(name)}/tags/{ref_part(tag)}")

    def protections(self, place: str) -> "Protections":
        """Which refs only admins move, of `ns/name` or all of `ns`, and refs' history; see `hubctl.protections`."""
        from hubctl.protections import Protections

        return Protections(self, place)

    def pulls(self, name: str, state: str = "all") -> list[dict[str, Any]]:
        """The proposals of a repository, newest first: open, merged, closed or all."""
        return list(self._pages(f"/repositories/{plain(name)}/pulls", state=state))

    def pull_request(self, name: str, number: int, state: str = "") -> dict[str, Any]:
        """One proposal with its files and conflicts; a `state` closes it, or opens it again."""
        path = f"/repositories/{plain(name)}/pulls/{number}"
        return self.transport.json("PATCH", path, json={"state": state}) if state else self._get(path)

    def merge_pull_request(self, name: str, number: int) -> dict[str, Any]:
        """Merge a proposal into its branch: {"revision", "version"}."""
        return self._post(f"/repositories/{plain(name)}/pulls/{number}/merge", {})

    def push(self, source: str | Path | Mapping[str, Path], name: str, **options: Any) -> dict[str, Any]:
        """Push a folder (or {path: file}); see `hubctl.upload.push`. Returns {"revision", "version", "created"}."""
        from hubctl.upload import push

        return push(self, source, name, **options)

    def pull(self, name: str, out: str | Path, **options: Any) -> dict[str, Any]:
        """Fetch `name[@ref]` into a folder; see `hubctl.download.pull`. Returns the manifest it holds then."""
        from hubctl.download import pull

        return pull(self, name, out, **options)

    def export_merged(
        self, name: str, base_folder: str | Path, out: str | Path | None = None, **options: Any
    ) -> dict[str, Any]:
        """Write base + adapter as one model folder or GGUF file; see `hubctl.export.export_merged`."""
        from hubctl.export import export_merged

        return export_merged(self, name, base_folder, out, **options)

    def check_merged(
        self, name: str, base_folder: str | Path, merged_folder: str | Path, **options: Any
    ) -> dict[str, Any]:
        """Say whether a folder is base + adapter; see `hubctl.export.check_merged`."""
        from hubctl.export import check_merged

        return check_merged(self, name, base_folder, merged_folder, **options)

    def companions(self, name: str) -> "Companions":
        """What is kept beside a repository; see `hubctl.companions`."""
        from hubctl.companions import Companions

        return Companions(self, plain(name))

    # Jobs

    def methods(self) -> list[dict[str, Any]]:
        """What this hub can do: [{kind, verb, label, summary, paper, needs, fields}]."""
        found = self._get("/methods")
        return found["results"] if isinstance(found, dict) else found

    def queue_job(
        self,
        kind: str,
        /,
        *,
        inputs: Sequence[str] = (),
        datasets: Sequence[str] = (),
        output: str | None = None,
        base: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **rest: Any,
    ) -> dict[str, Any]:
        """Start a job. With an idempotency key the same request made twice answers with the same job.

        `files` are private inputs by role: JSONL text, or {"companion": name} for one kept beside the adapter. `rest`
        are private, public, keep, priority, and inputs with a role of their own: generator, onto, without.
        """
        given = {"datasets": datasets, "output": output, "base": base, "recipe": recipe, "files": files}
        body = job_body(kind, inputs, **given, **rest)
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        repeat = idempotency_key is not None
        return self.transport.json("POST", "/jobs", json=body, headers=headers, repeat=repeat)

    def check_job(self, kind: str, /, *, inputs: Sequence[str] = (), datasets: Sequence[str] = (), **rest: Any) -> dict:
        """What would come of it: problems, ranks, size, time. Nothing is started. `rest` as in `queue_job`."""
        body = job_body(kind, inputs, datasets=datasets, **rest)
        return self.transport.json("POST", "/jobs/check", json=body, repeat=True)

    def jobs(self, state: str = "", *, limit: int = 30) -> list[dict[str, Any]]:
        """The user's newest jobs."""
        return list(self._pages("/jobs", limit, state=state))

    def job(self, job_id: int) -> dict[str, Any]:
        """One job as it stands."""
        return self._get(f"/jobs/{job_id}")

    def job_log(self, job_id: int, after: int = 0) -> list[dict[str, Any]]:
        """The job's log lines after line id `after`."""
        return list(self._pages(f"/jobs/{job_id}/log", after=after))

    def job_recipe(self, job_id: int) -> str:
        """The job as YAML, which `read_recipe` reads."""
        with self.transport.stream(f"/jobs/{job_id}/recipe", headers={}) as response:
            return response.read().decode("utf-8")

    def read_recipe(self, text: str) -> dict[str, Any]:
        """What a recipe's file asks for, of this hub or of mergekit: the parts of a job, and `notes`."""
        return self.transport.json("POST", "/recipes", json={"text": text}, repeat=True)

    def cancel_job(self, job_id: int) -> dict[str, Any]:
        """Ask for the job's end; work done so far is dropped."""
        return self._post(f"/jobs/{job_id}/cancel", {})

    def set_priority(self, job_id: int, priority: str) -> dict[str, Any]:
        """Let a job that waits come before or after your others: low, normal, high; urgent for administrators."""
        return self._post(f"/jobs/{job_id}/priority", {"priority": priority})

    def retry_job(self, job_id: int) -> dict[str, Any]:
        """Queue a failed or cancelled job again."""
        return self._post(f"/jobs/{job_id}/retry", {})

    def wait(self, job_id: int, **options: Any) -> dict[str, Any]:
        """The job once it is done; raises JobEnded when it failed or was cancelled. See `hubctl.watching.wait`."""
        from hubctl.watching import wait

        return wait(self, job_id, **options)

    def workers(self) -> list[dict[str, Any]]:
        """The workers the hub has heard of."""
        return list(self._pages("/workers"))

    def compare(self, names: Sequence[str], dataset: str | None = None) -> dict[str, Any]:
        """{"columns", "rows"}: the newest evaluation of each version and of its bare base, by dataset."""
        params: list[tuple[str, str]] = [("version", name) for name in names]
        if dataset:
            params.append(("dataset", dataset))
        return self.transport.json("GET", "/compare", params=params)

    def loss(self, name: str) -> dict[str, Any]:
        """What the merge `name[@ref]` lost of its inputs, as it was last measured."""
        return self._get(f"{version_path(name)}/loss")

    def verdict(self, name: str, **named: str | None) -> dict[str, Any]:
        """Whether the transferred `name[@ref]` lost something; `dataset` and `oracle` are names."""
        params = {key: value for key, value in named.items() if value}
        return self.transport.json("GET", f"{version_path(name)}/verdict", params=params)

    def measure_arms(self, name: str, dataset: str, **named: Any) -> list[dict[str, Any]]:
        """Queue the evaluations that verdict lacks; `oracle` is a name, `recipe` the evaluations'."""
        body = {"dataset": dataset, **{key: value for key, value in named.items() if value}}
        return self._post(f"{version_path(name)}/verdict", body)

    # Plumbing

    def _get(self, path: str) -> Any:
        return self.transport.json("GET", path)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.transport.json("POST", path, json=dict(body))

    def _delete(self, path: str) -> None:
        self.transport.json("DELETE", path)

    def _pages(self, path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """The results of all pages, at most `limit`."""
        given = {key: value for key, value in params.items() if value not in (None, "")}
        page = self.transport.json("GET", path, params=given)
        count = 0
        while True:
            for row in page if isinstance(page, list) else page["results"]:
                if limit is not None and count >= limit:
                    return
                count += 1
                yield row
            following = None if isinstance(page, list) else page.get("next")
            if not following or (limit is not None and count >= limit):
                return
            page = self.transport.json("GET", following)
