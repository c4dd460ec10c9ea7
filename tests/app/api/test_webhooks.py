import pytest

INSIDE = ["https://10.0.0.1/hook", "https://[::1]/hook", "https://localhost/hook"]


@pytest.mark.parametrize("url", INSIDE)
def test_a_url_that_leads_inside_is_refused_before_anything_is_stored(client, model, url):
    answer = client.submit(model, spec={"webhook": {"url": url}})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/webhook/url"
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_message_that_waits_is_in_the_log_of_the_job(client, model):
    spec = {"webhook": {"url": "https://nowhere.invalid/hook"}}
    job = client.submit(model, spec=spec).json()
    assert client.get(f"/v1/jobs/{job['id']}/deliveries").json() == []

    client.post(f"/v1/jobs/{job['id']}/cancel")

    (delivery,) = client.get(f"/v1/jobs/{job['id']}/deliveries").json()
    assert (delivery["type"], delivery["status"]) == ("job.cancelled", "pending")
    assert delivery["url"] == spec["webhook"]["url"]


def test_the_secret_is_one_that_libraries_take_and_stays_the_same(client):
    secret = client.get("/v1/webhook-secret").json()["secret"]

    assert secret.startswith("whsec_")
    assert client.get("/v1/webhook-secret").json()["secret"] == secret
