"""Routes of the Hugging Face Hub protocol. They stand beside /api/v1 and the pages, whose addresses differ.

`bare` are those of ids without a namespace; they stand after the pages, which may have the same addresses.
"""

from django.urls import include, path, re_path

import hub.http.converters  # noqa: F401  registers type, name, place, ref, longref, anypath, number
from hub.hf.view import Unknown
from hub.hf.views import accounts, bases, files, info, refs, repositories, trees

HERE = "api/<type:type>/<name:namespace>/<name:name>"
FILES = "<place:namespace>/<name:name>"

urlpatterns = [
    path("api/whoami-v2", accounts.WhoAmI.as_view()),
    path("api/agent-harnesses", accounts.Harnesses.as_view()),
    path("api/telemetry/<anypath:rest>", accounts.Telemetry.as_view()),
    path("v1/telemetry", accounts.Telemetry.as_view()),
    path("api/repos/create", repositories.Create.as_view()),
    path("api/repos/delete", repositories.Delete.as_view()),
    path("api/repos/move", repositories.Move.as_view()),
    path("api/settings/repositories", repositories.Stored.as_view()),
    path("api/organizations/<name:namespace>/settings/repositories", repositories.Stored.as_view()),
    path("api/<type:type>", info.List.as_view()),
    path(HERE, info.Info.as_view(of_base=bases.info)),
    path(f"{HERE}/revision/<anypath:rest>", info.Info.as_view(of_base=bases.info)),
    path(f"{HERE}/settings", repositories.Settings.as_view()),
    path(f"{HERE}/auth-check", repositories.AuthCheck.as_view(of_base=bases.may_read)),
    path(f"{HERE}/auth-check/write", repositories.AuthCheck.as_view(), {"write": True}),
    path(f"{HERE}/tree/<anypath:rest>", trees.Tree.as_view(of_base=bases.tree)),
    path(f"{HERE}/paths-info/<anypath:rest>", trees.PathsInfo.as_view(of_base=bases.paths_info)),
    path(f"{HERE}/refs", refs.Refs.as_view(of_base=bases.refs)),
    path(f"{HERE}/commits/<anypath:rest>", refs.Commits.as_view(of_base=bases.commits)),
    path(f"{HERE}/tag/<anypath:rest>", refs.Tag.as_view()),
    path(f"{HERE}/branch/<anypath:rest>", refs.Branch.as_view()),
    path(f"{HERE}/compare/<anypath:rest>", refs.Compare.as_view()),
    path(f"{FILES}/resolve/<anypath:rest>", files.File.as_view(of_base=bases.file)),
    path(f"{FILES}/raw/<ref:ref>/<anypath:path>", files.Raw.as_view(of_base=bases.raw), name="file"),
    path("", include("hub.hf.writing_urls")),
    path("", include("hub.hf.sharing_urls")),
    path("", include("hub.hf.large_file_urls")),
    # What nothing above takes: an id that isn't here, or a route that this hub doesn't have.
    path("api/<type:type>/<anypath:rest>", repositories.NoId.as_view(of_base=bases.bare)),
    path("api/spaces/<anypath:rest>", repositories.NoId.as_view(), {"type": "spaces"}),
    # Any other address under /api/.
    re_path(r"^api(?:/[\s\S]*)?$", Unknown.as_view()),
]

bare = [
    path("<name:rest>/resolve/<anypath:path>", repositories.NoId.as_view(of_base=bases.bare)),
]
