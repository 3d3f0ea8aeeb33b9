"""Nothing runs off a page and no text is cut, on a phone and on a desk; and the merge page works without scripts."""

import pytest

from hub.models import Evaluation, Origin, User
from tests.hub import factories
from tests.hub.web.driver import CHROMIUM, DRIVER, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its driver here"),
]
LONG = "an-adapter-with-a-name-that-is-about-as-long-as-the-hub-allows-names-of-repositories-to-be-90"
PAGES = [
    "/",
    "/?kind=generator",
    "/?kind=dataset",
    "/merge?kind=lego&find=a",
    "/merge?kind=svd",
    "/merge?kind=meteora",
    "/merge?kind=regmean",
    f"/compare?version=owner/sentiment&version=owner/{LONG}&version=owner/merged&find=a",
    "/owner/merged",
    "/owner/merged/report/v1",
    "/owner/merged/modules/v1",
    "/jobs/new",
]
# What is wider than the page, text that is cut without a sign, and children of controls that lie outside of them.
FAULTS = """
const name = (e) => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + [...e.classList].map((c) => '.' + c).join('');
const seen = (e) => e.checkVisibility() && e.getClientRects().length && !e.closest('.visually-hidden, svg, [hidden]');
const faults = [];
const page = document.documentElement;
if (page.scrollWidth > page.clientWidth) faults.push(`the page is ${page.scrollWidth} wide in ${page.clientWidth}`);
for (const e of document.querySelectorAll('body *')) {
  if (!seen(e)) continue;
  const style = getComputedStyle(e), box = e.getBoundingClientRect();
  const scrolls = [...'xy'].some((axis) => ['auto', 'scroll'].includes(style[`overflow-${axis}`]));
  const words = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const hides = !scrolls && style.overflowX !== 'visible' && style.textOverflow !== 'ellipsis';
  if (words && hides && e.scrollWidth > e.clientWidth + 1)
    faults.push(`${name(e)} cuts its text`);
  if (e.matches('label, button, summary, .button, .badge, .chip')) {
    for (const child of e.children) {
      const inner = child.getBoundingClientRect();
      if (seen(child) && (inner.top < box.top - 3 || inner.bottom > box.bottom + 3 || inner.right > box.right + 3))
        faults.push(`${name(child)} lies outside of ${name(e)}`);
    }
  }
}
return faults;
"""


@pytest.fixture
def full(live_server):
    """A hub with long names, a generator, a dataset, measured versions and a merge; its address."""
    owner, base = factories.make_user("owner"), factories.make_base()
    parents = [factories.make_version(owner, seed=1), factories.make_version(owner, LONG, seed=2)]
    factories.make_generator(owner, LONG.replace("adapter", "generator"))
    data = factories.make_repository(owner, LONG.replace("adapter", "dataset"), kind="dataset")
    rows = factories.publish(owner, data, factories.dataset_files()).version
    module = {"rank": 4, "norm": 1.0, "error_mean": 0.4, "error_sum": 0.6, "kept_inputs": [0.4, 0.7]}
    modules = {f"model.layers.{n}.self_attn.{p}_proj": module for n in range(2) for p in "qv"}
    report = {"method": "svd", "modules": modules, "summary": {"kept_inputs": [0.4, 0.7]}, "warnings": ["A warning."]}
    made = {"origin": Origin.MERGED, "parents": parents, "base": base, "report": report}
    merged = factories.make_repository(owner, "merged")
    merged = factories.publish(owner, merged, factories.adapter_files(seed=3), **made).version
    for version in (*parents, merged):
        Evaluation.objects.create(
            version=version,
            base=base,
            dataset=rows,
            dataset_digest=rows.content_digest,
            split="test",
            metrics={"exact_match": 0.5},
            rows=4,
            hits={"exact_match": "0110"},
            device="cpu",
            seconds=1,
        )
    return live_server.url


@pytest.fixture
def browser(tmp_path):
    window = Browser(tmp_path / "profile")
    yield window
    window.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_runs_off_the_page_and_no_text_is_cut(full, browser, client, width):
    browser.resize(width, 1000)
    browser.open(full)
    client.force_login(User.objects.get(username="owner"))
    browser.run("document.cookie = arguments[0]", f"sessionid={client.cookies['sessionid'].value}; path=/")
    browser.open(full)
    for name in ("owner/sentiment", f"owner/{LONG}"):
        answered = browser.run(
            "return fetch('/merge/basket', {method: 'POST', headers: {'X-CSRFToken': arguments[1]},"
            "body: new URLSearchParams({toggle: arguments[0]})}).then((answer) => answer.status)",
            name,
            browser.run("return document.querySelector('[name=csrfmiddlewaretoken]').value"),
        )
        assert answered == 200
    found = {}
    for path in PAGES:
        browser.open(full + path)
        assert browser.there("main h1"), path
        if faults := browser.run(FAULTS):
            found[path] = faults
    assert not found


def test_another_method_keeps_what_was_typed_without_any_script(client):
    """What a form sends when a method's button is pressed, and the page that its answer leads to."""
    owner = factories.make_user("owner")
    factories.make_base()
    for seed, name in enumerate(("one", "two")):
        factories.make_version(owner, name, seed=seed)
        client.post("/merge/basket", {"toggle": f"owner/{name}"})
    typed = {"kind": "lego", "inputs": ["owner/one@v1", "owner/two@v1"], "weights": ["1", "3"], "rank": "3"}
    typed |= {"name": "kept", "seed": "7", "visibility": "private", "key": "k", "csrfmiddlewaretoken": "secret"}
    led = client.post("/merge", {**typed, "choose": "cat"})
    assert led.status_code == 302
    assert "secret" not in led["Location"]
    page = client.get(led["Location"]).context["merging"]
    assert (page.method.kind, page.name, page.visibility) == ("cat", "kept", "private")
    assert [row["weight"] for row in page.rows()] == [1, 3]
    assert dict(page.kept) == {"rank": "3", "seed": "7"}
    back = client.post("/merge", {**typed, "kind": "cat", **dict(page.kept), "choose": "lego"})
    assert client.get(back["Location"]).context["merging"].recipe["rank"] == 3
    assert client.get(back["Location"]).context["merging"].recipe["seed"] == 7


def test_an_open_rank_tells_what_it_will_be(client):
    owner = factories.make_user("owner")
    factories.make_base()
    for seed, name in enumerate(("one", "two")):
        factories.make_version(owner, name, seed=seed)
        client.post("/merge/basket", {"toggle": f"owner/{name}"})
    (rank,) = [field for field in client.get("/merge?kind=svd").context["fields"] if field["name"] == "rank"]
    assert rank["value"] == ""
    assert rank["placeholder"] == max(
        version["version"].facts["ranks"][1] for version in client.get("/merge").context["rows"]
    )


def test_how_many_adapters_a_method_needs_is_no_fault_of_the_first(client):
    owner = factories.make_user("owner")
    factories.make_base()
    for seed, name in enumerate(("one", "two", "three")):
        factories.make_version(owner, name, seed=seed)
        client.post("/merge/basket", {"toggle": f"owner/{name}"})
    for kind in ("meteora", "smora", "cat"):
        assert [row["reason"] for row in client.get(f"/merge?kind={kind}").context["rows"]] == ["", "", ""], kind
