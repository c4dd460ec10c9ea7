import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from app.jobs.history import HistoryChunk
from app.jobs.job import Notice, Progress
from app.jobs.result import (
    ArtifactResult,
    Compressed,
    EvaluatedOn,
    Latency,
    LayerSparsity,
    Timing,
)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
#: Without a closing tag.
_VOID = {"meta", "link", "line", "rect", "path", "circle", "input", "br", "img"}


class Page(HTMLParser):
    """A page as a browser understands it."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = ""
        self.style = ""
        self._open = []
        self.feed(html)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(self.text.split())


@pytest.fixture
def read(client):
    """Fetch the report of a job."""

    def read(job):
        answer = client.get(f"/v1/jobs/{job['id']}/report")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return Page(answer.text)

    return read


@pytest.fixture
def trained(backends, worker):
    """Train for two epochs of two steps each, and succeed."""

    def train(job, *, layer="conv", metric="accuracy", notices=()):
        claim = worker.claim(job["id"])
        backends.store.record(
            claim,
            progress=Progress(
                step=4, total_steps=4, epoch=2, epochs=2, sparsity=0.8, eta_seconds=0.0
            ),
            notices=notices,
            history=[
                HistoryChunk(
                    scope="step",
                    columns={
                        "step": (1, 2, 3, 4),
                        "sparsity": (0.0, 0.5, 0.5, 0.8),
                        "loss": (0.5, 0.25, None, 0.125),
                        metric: (0.5, 0.75, 0.875, 1.0),
                    },
                ),
                HistoryChunk(
                    scope="epoch",
                    columns={"epoch": (1, 2), "loss": (0.3, 0.2), "val_loss": (0.4, 0.35)},
                ),
            ],
        )
        worker.succeed(
            job["id"],
            claim=claim,
            baseline={"loss": 0.25, metric: 0.9},
            pruned={"loss": 0.5, metric: 0.875},
            evaluated_on=EvaluatedOn(split="test", samples=1000),
            layers=(_dense(layer), _pruned(layer)),
            artifacts=(_artifact(metric),),
        )

    return train


def _pruned(name):
    return LayerSparsity(
        name=name, weight="kernel", shape=(3, 3, 8), sparsity=0.8125, pruned=True, reason=None
    )


def _dense(name):
    return LayerSparsity(
        name=name, weight="bias", shape=(8,), sparsity=0.0, pruned=False, reason="a bias"
    )


def _artifact(metric):
    return ArtifactResult(
        name="model.keras",
        format="keras",
        bytes=1_234_567,
        compressed_bytes=1_200_000,
        sha256="ab" * 32,
        verified=True,
        max_abs_error=0.00012,
        metrics={metric: 0.875},
        latency_ms=1.5,
        latency=(_latency(1, pruned_ms=2.5, dense_ms=4.25), _latency(2, pruned_ms=1.5, dense_ms=3)),
        compressed=(
            Compressed(encoding="gzip", bytes=1_200_000, sha256="0" * 64),
            Compressed(encoding="zstd", bytes=1_100_000, sha256="0" * 64),
        ),
        remarks=("Pruning made it faster.",),
    )


def _latency(threads, *, pruned_ms, dense_ms):
    return Latency(
        threads=threads,
        pruned=Timing(median_ms=pruned_ms, spread_ms=0.1),
        dense=Timing(median_ms=dense_ms, spread_ms=0.1),
    )


def test_it_tells_what_the_job_found_out(read, trained, job):
    trained(job)

    page = read(job)

    for words in (
        "Accuracy90.00 %87.50 %\N{MINUS SIGN}2.50 points",
        "Loss0.25000.5000+0.2500",
        "Weights that are not zero21258\N{MINUS SIGN}154",
        "On 1,000 test samples. 80.00 % of the 192 prunable weights are zero.",
        "conv kernel 3 \N{MULTIPLICATION SIGN} 3 \N{MULTIPLICATION SIGN} 8 81.25 %",
        "conv bias 8 a bias",
    ):
        assert _squeezed(words) in _squeezed(page.text)


def test_it_has_what_was_measured_on_each_file(read, trained, job):
    trained(job)

    page = read(job)

    row = (
        "model.keras" + "Pruning made it faster." + "ab" * 32 + "1,234,567 1,200,000 zstd 1,100,000"
        "87.50 % 1.50 ms 1 thread: 2.50 ms, dense 4.25 ms 2 threads: 1.50 ms, dense 3.00 ms 0.0001"
    )
    assert _squeezed(row) in _squeezed(page.text)


def test_it_draws_sparsity_loss_and_accuracy_over_the_steps(read, trained, job):
    trained(job)

    page = read(job)

    assert [plot["aria-label"] for plot in page.all("svg") if plot.get("role") == "img"] == [
        "Sparsity: 80.00 % at step 4",
        "Loss: 0.1250 at step 4",
        "Accuracy: 100.00 % at step 4",
    ]
    classes = [path["class"] for path in page.all("path")]
    assert classes == ["area", "stairs", "line", "line", "line"], "a loss that overflowed is a gap"
    assert len(page.all("circle")) == 2, "the loss on held-out samples, by epoch"


def test_a_bar_is_as_long_as_the_layer_is_sparse(read, trained, job):
    trained(job)

    widths = [bar["width"] for bar in read(job).all("rect")]

    assert widths[-1] == "81.25"


def test_what_a_model_names_is_never_read_as_html(read, trained, client, model):
    notice = Notice(code="c", message=HOSTILE)
    files = {"model": (HOSTILE, model)}
    job = client.post("/v1/jobs", files=files).json()

    trained(job, layer=HOSTILE, metric=HOSTILE, notices=[notice])
    page = read(job)

    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert page.text.count(HOSTILE) == 5, "the metric, its curve, two weights, the warning"
    assert "<img src=x onerror=alert(2)>{{ 7 * 7 }} · Espalier" in page.text, "the file"


def test_it_loads_nothing_and_may_load_nothing(client, read, trained, job):
    trained(job)

    page = read(job)
    policy = client.get(f"/v1/jobs/{job['id']}/report").headers["content-security-policy"]

    addresses = [
        value
        for tag, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "style", "action", "data", "poster"}
    ]
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert "@import" not in page.style
    assert "url(" not in page.style
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    [meta] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith(meta), "a copy that was saved is under the same rule"


def test_a_job_that_waits_says_so(read, job):
    page = read(job)

    assert "Queued" in page.words
    assert "Result" not in page.words


def test_a_job_that_runs_is_shown_as_far_as_it_is(read, worker, job):
    worker.train(worker.claim(job["id"]))

    page = read(job)

    assert "Running" in page.words
    assert [plot["aria-label"] for plot in page.all("svg")] == ["Loss: 0.2500 at step 2"]


def test_a_job_that_failed_says_why(read, worker, job):
    worker.fail(job["id"])

    assert "It died. Try again." in re.sub(r"(?<=\.)(?=\S)", " ", read(job).words)


def test_without_data_there_is_a_dash_where_nothing_was_measured(read, worker, job):
    unknown = {"metrics": {}, "compressed": (), "latency": ()}
    artifact = _artifact("accuracy").model_copy(update=unknown)
    worker.succeed(job["id"], artifacts=(artifact,))

    page = read(job)

    assert "without data" in page.words
    assert "Pruned at once, without training." in page.words
    assert "1,200,000 \N{EN DASH} 1.50 ms" in page.words


def test_the_settings_are_there_with_every_default(read, job):
    text = read(job).text

    assert '"power": 3.0' in text
    assert "webhook" not in text, "the page is made to be sent"


def test_the_job_says_where_its_report_is(client, job):
    assert job["report_url"] == f"/v1/jobs/{job['id']}/report"
    assert client.get(job["report_url"]).status_code == 200


def test_the_report_of_no_job_is_a_problem(client):
    answer = client.get("/v1/jobs/job_none/report")

    assert answer.status_code == 404
    assert answer.json()["code"] == "job_not_found"


def _squeezed(text):
    return "".join(text.split())
