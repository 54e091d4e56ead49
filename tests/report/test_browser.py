"""The pages in a real browser: nothing fetched, nothing logged, nothing wider than the window, the right optimum."""

import json
import shutil

import numpy as np
import pytest

from mixlaw import report
from mixlaw.data.budget import Budget, Group
from mixlaw.data.corpus import Corpus
from mixlaw.laws import Law
from mixlaw.laws.core.atoms import Atoms

pytestmark = pytest.mark.slow
SIZES = ((1280, 900), (420, 800))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium with an empty profile."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def html(facts):
    """The report of the finished study, drawn once."""
    return report.page(facts)


@pytest.fixture
def visit(browser, tmp_path):
    """Open HTML text at a window size; returns the browser."""

    def go(html, size=SIZES[0], name="page.html"):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )
        for log in ("browser", "performance"):
            browser.get_log(log)
        (tmp_path / name).write_text(html, encoding="utf-8")
        browser.get((tmp_path / name).as_uri())
        return browser

    return go


def requests(browser):
    """URLs asked for since the page was opened."""
    events = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def clean(browser):
    """No console message, no request besides the file itself, no sideways scrolling, no text cut off by its box."""
    assert browser.get_log("browser") == []
    asked = [u for u in requests(browser) if not u.startswith("data:")]
    assert len(asked) == 1 and asked[0].startswith("file://"), asked
    width, window = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= window
    wide = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3, p, li, dd, dt, .scroll, svg, .control, .bar-row')]"
        ".filter(e => e.offsetParent !== null && e.getBoundingClientRect().right > window.innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


@pytest.mark.parametrize("size", SIZES)
def test_report_in_a_browser(visit, html, facts, size):
    browser = visit(html, size)
    clean(browser)
    text = browser.execute_script("return document.body.innerText")
    for number in ("36%", f"{facts.verification['objective']['measured']:.3f}", facts.ledger_head):
        assert number in text
    first = browser.execute_script(
        "const box = document.getElementById('answer').getBoundingClientRect(); return [box.top, box.bottom]"
    )
    assert 0 < first[0] < first[1] < size[1]  # the answer is on the first screen
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')].filter(e => e.getBoundingClientRect().width > 0)"
        ".map(e => [e.getBoundingClientRect().width, e.viewBox.baseVal.width])"
    )
    assert len(shown) == len(browser.execute_script("return [...document.querySelectorAll('.chart')]"))
    # Drawn for this width: 9 point letters are shown at 10 pixels or more.
    assert all(css / points * 9 >= 10 for css, points in shown), shown


def test_report_names_what_is_under_the_pointer(visit, html):
    browser = visit(html)
    said = browser.execute_script(
        "const bar = document.querySelector('#mixture .wide [data-tip]');"
        "bar.firstElementChild.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));"
        "return [document.getElementById('tip').textContent, document.getElementById('tip').style.opacity]"
    )
    assert said[0].startswith("recipe: docstrings 36.0%") and said[1] == "1"


def test_unfinished_and_null_reports_in_a_browser(visit, null_facts):
    for facts in (null_facts, report.ReportFacts("nothing yet")):
        clean(visit(report.page(facts), SIZES[1]))


# ---- steering ----------------------------------------------------------------------------------------
STATE = (
    "const r = steer.state.result; return r && [r.value, r.gap, r.certified, r.r, r.starts,"
    " document.getElementById('answer').textContent, document.getElementById('how').textContent, r.capPrice]"
)


class AtomLaw(Law):
    """A law given as its atoms: nothing was fitted, so its intervals are a stated 0.01 nats."""

    kind = "mixture"

    def __init__(self, form=None, domains=()):
        self.form, self.domains = form, domains
        self.feature_names_in_ = np.array(domains, dtype=object)
        self.n_features_in_ = len(domains)
        self.target_names_ = [] if form is None else [f"set {t}" for t in range(len(form.const))]
        self.n_targets_ = len(self.target_names_)
        self.num_runs_ = 0
        self.single_target_ = False

    def atoms(self):
        return self.form

    def _predict(self, X):
        return self.form.value(X)

    def predict_interval(self, X, level=0.9):
        return self.predict(X) - 0.01, self.predict(X) + 0.01

    def to_dict(self):
        return {"class": "atoms", "params": {}, "state": {"const": self.form.const.tolist()}}


def random_law(rng, num_domains, num_targets, convex=True):
    """Three atoms per target, one of each kind."""
    kind = np.tile(["exp", "power", "log"], num_targets)
    scale = rng.uniform(0.3, 1.0, len(kind))
    scale[kind == "log"] *= -0.2
    linear = np.abs(rng.normal(0, 1.5, (len(kind), num_domains)))
    linear[kind == "exp"] *= -rng.choice([1, -0.3], (num_targets, num_domains))
    if not convex:
        scale[kind == "exp"] *= -0.5
    return AtomLaw(
        Atoms(
            rng.uniform(1, 2, num_targets),
            np.repeat(np.arange(num_targets), 3),
            kind,
            scale,
            linear,
            np.where(kind == "exp", 0.0, 0.05),
            np.full(len(kind), 0.4),
        ),
        [f"d{j}" for j in range(num_domains)],
    )


def slsqp(law, weights, constraints, starts):
    """The lowest objective scipy finds from several starts."""
    from scipy.optimize import minimize

    atoms, w = law.atoms(), np.asarray(weights)
    rows = [{"type": "eq", "fun": lambda r: r.sum() - 1, "jac": lambda r: np.ones_like(r)}]
    if len(constraints.upper):
        rows.append(
            {
                "type": "ineq",
                "fun": lambda r: constraints.upper - constraints.matrix @ r,
                "jac": lambda r: -constraints.matrix,
            }
        )
    found = [
        minimize(
            lambda r: float(atoms.value(r)[0] @ w),
            start,
            jac=lambda r: w @ atoms.gradient(r)[0],
            bounds=list(zip(constraints.low, constraints.high)),
            constraints=rows,
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-13},
        )
        for start in starts
    ]
    return min(f.fun for f in found if f.success)


@pytest.mark.parametrize("size", SIZES)
def test_steering_in_a_browser(visit, facts, size):
    budget = Budget(tokens=1_200_000, max_epochs=1.2)
    browser = visit(report.steer.page(facts.law, facts.corpus, budget, facts.objective), size)
    clean(browser)
    assert browser.execute_script(STATE)[5].startswith("Train on ")


def test_the_browser_finds_pythons_optimum(visit, facts):
    from mixlaw.optimize.optimum import optimize

    budget = Budget(
        tokens=1_200_000,
        max_epochs=1.2,
        floors={"source": 0.02},
        groups={"prose": Group(("docstrings", "readme"), 0.1, 0.5)},
    )
    recipe = optimize(facts.law, facts.objective, budget, facts.corpus, num_bootstrap=0)
    browser = visit(report.steer.page(facts.law, facts.corpus, budget, facts.objective))
    value, gap, certified, weights, _, _, how, _ = browser.execute_script(STATE)
    assert recipe.certificate.kind == "certified" and certified and "certified optimum" in how
    assert abs(value - recipe.predictions["objective"].mean) < 1e-8 and gap < 1e-8
    assert np.allclose(weights, recipe.mixture.array(facts.corpus.names), atol=1e-4)
    group = weights[1] + weights[3]
    assert weights[0] >= 0.02 - 1e-12 and group <= 0.5 + 1e-9 and abs(sum(weights) - 1) < 1e-12


def test_sliders_move_the_optimum_to_where_python_finds_it(visit, facts):
    from mixlaw.optimize.optimum import optimize

    browser = visit(
        report.steer.page(facts.law, facts.corpus, Budget(tokens=1_200_000, max_epochs=1.2), facts.objective)
    )
    before = browser.execute_script(STATE)
    browser.execute_async_script(
        "const done = arguments[0];"
        "for (const [id, v] of [['weight-0', 80], ['weight-1', 20], ['weight-3', 0], ['weight-4', 0], ['cap-0', 35]]) {"
        " const input = document.getElementById(id); input.value = v; input.dispatchEvent(new Event('input')); }"
        "requestAnimationFrame(() => requestAnimationFrame(done));"
    )
    after = browser.execute_script(STATE)
    budget = Budget(tokens=1_200_000, max_epochs=1.2, caps={"source": 0.35})
    recipe = optimize(facts.law, {"source": 0.8, "docstrings": 0.2}, budget, facts.corpus, num_bootstrap=0)
    assert abs(after[0] - recipe.predictions["objective"].mean) < 1e-6 and after[5] != before[5]
    moved = browser.execute_script("return document.getElementById('moves').innerText")
    change = facts.law.predict([after[3]])[0] - facts.law.predict(facts.corpus.natural.array()[None])[0]
    for d in change:
        assert f"{abs(d):.4f}" in moved
    step = 1e-5  # what the page says a cap costs is the slope of the optimum in that cap
    looser = Budget(tokens=1_200_000, max_epochs=1.2, caps={"source": 0.35 + step})
    other = optimize(facts.law, {"source": 0.8, "docstrings": 0.2}, looser, facts.corpus, num_bootstrap=0)
    slope = (recipe.predictions["objective"].mean - other.predictions["objective"].mean) / step
    assert after[7][0] == pytest.approx(slope, rel=0.02)
    assert "source is at its cap" in browser.execute_script("return document.getElementById('prices').innerText")
    browser.execute_script("document.getElementById('reset').click()")
    assert browser.execute_script(STATE)[0] == pytest.approx(before[0], abs=1e-9)


def test_impossible_caps_are_explained(visit, facts):
    browser = visit(report.steer.page(facts.law, facts.corpus, Budget(tokens=1_200_000), facts.objective))
    browser.execute_script("steer.set([1, 1, 1, 1, 1], [0.1, 0.2, 0.2, 0.2, 0.1])")
    assert browser.execute_script("return steer.state.result") is None
    how = browser.execute_script("return document.getElementById('how').textContent")
    assert "The caps add up to 80%: they leave 20% of the tokens without a domain." in how
    browser.execute_script("steer.set([0, 0, 0, 0, 0], [1, 1, 1, 1, 1])")
    assert "at least one validation set" in browser.execute_script("return document.getElementById('how').textContent")
    browser.execute_script("steer.set([1, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2])")  # exactly one mixture is left
    assert np.allclose(browser.execute_script(STATE)[3], 0.2)


def test_random_convex_problems_agree_with_scipy(visit):
    rng = np.random.default_rng(3)
    for k, t in ((2, 1), (4, 3), (17, 13), (40, 8)):
        law = random_law(rng, k, t)
        corpus = Corpus.declared({d: int(c) for d, c in zip(law.feature_names_in_, rng.integers(50, 400, k))}, "test")
        tokens = 60 * k
        groups = {"g": Group(("d0", "d1"), 0.05, 0.6)} if k > 2 else {}
        budget = Budget(tokens=tokens, max_epochs=3.0, floors={"d0": 0.01}, groups=groups)
        weights = rng.dirichlet(np.ones(t))
        browser = visit(report.steer.page(law, corpus, budget, dict(zip(law.target_names_, weights))))
        value, gap, certified, r, *_ = browser.execute_script(STATE)
        c = budget.check(corpus)
        reference = slsqp(law, weights, c, [corpus.natural.array()])
        assert certified and gap < 1e-8 and value <= reference + 1e-6 and abs(value - reference) < 1e-4
        assert (np.array(r) >= c.low - 1e-12).all() and (np.array(r) <= c.high + 1e-12).all()
        assert (c.matrix @ r <= c.upper + 1e-9).all() and abs(sum(r) - 1) < 1e-10


def test_without_convexity_there_is_no_certificate_and_still_a_good_optimum(visit):
    rng = np.random.default_rng(5)
    law = random_law(rng, 5, 2, convex=False)
    corpus = Corpus.declared({d: 100 for d in law.feature_names_in_}, "test")
    budget = Budget(tokens=100, caps={"d0": 0.5})
    browser = visit(report.steer.page(law, corpus, budget))
    value, _, certified, _, starts, _, how, _ = browser.execute_script(STATE)
    points = rng.dirichlet(np.full(5, 0.5), 400)
    points = points[points[:, 0] <= 0.5][:40]
    assert not certified and starts > 5 and f"best of {starts} starts, no certificate" in how
    assert value <= slsqp(law, [0.5, 0.5], budget.check(corpus), points) + 1e-4
