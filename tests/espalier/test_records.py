"""The client's records name what the service answers, and nothing that it does not."""

import pytest

from app.api import errors, views
from app.jobs import history, job, plan, result
from espalier import records

PAIRS = [
    (records.FileRef, job.FileRef),
    (records.Progress, job.Progress),
    (records.Notice, job.Notice),
    (records.Failure, job.Failure),
    (records.JobState, job.Job),
    (records.EvaluatedOn, result.EvaluatedOn),
    (records.Uploaded, result.Uploaded),
    (records.ParameterCounts, result.ParameterCounts),
    (records.LayerSparsity, result.LayerSparsity),
    (records.LayerSparsity, plan.PlannedWeight),
    (records.MeasuredArtifact, result.ArtifactResult),
    (records.Result, result.JobResult),
    (records.PredictedArtifact, plan.PredictedArtifact),
    (records.Plan, plan.Plan),
    (records.History, history.History),
    (records.JobPage, views.JobPage),
    (records.Event, views.EventView),
    (records.Artifact, views.ArtifactView),
    (records.Problem, errors.Problem),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_record_names_only_what_is_answered(ours, theirs):
    assert set(ours.model_fields) <= set(theirs.model_fields)


def test_what_a_newer_service_says_is_kept():
    notice = records.Notice.model_validate({"code": "c", "message": "m", "severity": "high"})

    assert notice.model_dump()["severity"] == "high"
