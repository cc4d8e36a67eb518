"""What keeps foreign pages out."""

import pytest

from pumpwatch.web.security import FORM_COOKIE


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/app.css", "/api/v1/sites", "/healthz"])
def test_every_answer_carries_the_headers(client, path):
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/alerts", "/status", "/sites/demo/mh0003", "ALERT"])
def test_no_page_needs_what_the_policy_forbids(world, serve, path):
    if path == "ALERT":
        path = f"/alerts/{world.alert_of('capacity:pump2').id}"
    text = serve(world, demo=True).get(path).text
    assert " style=" not in text
    assert "<style" not in text
    assert " onclick=" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert text.count("<script") == 1


def ack(client, world, **more):
    path = f"/alerts/{world.alert_of('capacity:pump2').id}/acknowledge"
    return client.post(path, data={"name": "x", **more.pop("data", {})}, **more)


def test_a_form_without_its_token_changes_nothing(client, world):
    client.get("/")
    assert ack(client, world).status_code == 403
    assert world.alert_of("capacity:pump2").acknowledged_ms is None


def test_a_wrong_token_changes_nothing(client, world):
    client.get("/")
    answer = ack(client, world, data={"token": "a" * 43})
    assert answer.status_code == 403
    assert "もう一度送信してください" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_a_change_from_a_foreign_page_is_refused(client, world, headers):
    client.get("/")
    token = client.cookies[FORM_COOKIE]
    assert ack(client, world, data={"token": token}, headers=headers).status_code == 403
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}/acknowledge"
    assert client.post(path, json={"name": "x"}, headers=headers).status_code == 403
    assert world.alert_of("capacity:pump2").acknowledged_ms is None


def test_the_token_cookie_is_out_of_reach_of_scripts_and_foreign_pages(client):
    cookie = client.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_form_cannot_be_posted_to_the_api(client, world):
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}/acknowledge"
    answer = client.post(path, content='{"name": "x"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert world.alert_of("capacity:pump2").acknowledged_ms is None


def test_a_server_is_only_called_by_its_names(world, client):
    from dataclasses import replace

    from fastapi.testclient import TestClient

    from pumpwatch.web.app import create_app

    app = create_app(replace(world.deps(), hosts=("127.0.0.1", "::1")))
    with TestClient(app, "http://evil.example:8080") as rebound:
        assert rebound.get("/").status_code == 403
    with TestClient(app) as client_of_all:
        for host in ("[", "a]b", "", "127.0.0.1.evil.example"):
            assert client_of_all.get("/", headers={"host": host}).status_code == 403
    with TestClient(app, "http://[::1]:8080") as at_home:
        assert at_home.get("/").status_code == 200


def test_a_body_too_large_is_refused(client, world):
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}/notes"
    answer = client.post(path, json={"note": "x" * 100_000})
    assert answer.status_code == 413
