"""Point 8: models that are busy, refuse, or stop in the middle, in the words of each provider's API; and who is asked next."""

import hashlib
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.cluster import Cluster, condition, step_of, wait_step
from tests.e2e.conftest import MODEL_URL, Store, agent, task
from tests.e2e.seen import attempts
from tests.e2e.servers import model_requests
from tests.e2e.test_tools import succeeded

pytestmark = pytest.mark.cluster

BARE_URL = MODEL_URL.removesuffix("/v1")
HOST = BARE_URL.removeprefix("http://")
NAMES = {"OpenAI": "scripted", "Anthropic": "claude-haiku-4-5", "Google": "gemini-2.5-flash"}


def model(provider: str, name: str = "", **fields: object) -> dict[str, object]:
    """The scripted model as one of a provider's."""
    url = MODEL_URL if provider == "OpenAI" else BARE_URL
    return {"provider": provider, "name": name or NAMES[provider], "baseURL": url, **fields}


def prompt(name: str, text: str, **fields: object) -> dict[str, object]:
    """A step that asks the model."""
    return {"name": name, "prompt": {"text": text}, **fields}


def told(cluster: Cluster, contains: str) -> list[tuple[str, int]]:
    """Which model was asked with a text, and with what status it answered, in order."""
    return [(named(entry), entry["status"]) for entry in model_requests(cluster, contains)]


def named(entry: dict[str, Any]) -> str:
    """Which model a request is for: Google's API has it in the path."""
    return entry["request"].get("model") or entry["path"].rpartition("/")[2].partition(":")[0]


def key_hash(key: str) -> str:
    """A key, as the scripted model records it."""
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_busy_model_is_asked_again_when_its_server_says(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given models that are busy for four seconds, and as many that are busy for an hour
    for provider in NAMES:
        name, once = provider.lower(), {"limit": 1, "backoff": {"initial": "1s"}}
        by = {"agentRef": {"name": name}}
        cluster.apply(
            namespace,
            agent(name, model=model(provider)),
            task(
                f"{name}-soon",
                **by,
                steps=[prompt("ask", f"[fail 429 x1 {namespace}-{name}] [retry-after 4] echo: at last")],
            ),
            task(
                f"{name}-late",
                **by,
                steps=[prompt("ask", f"[fail 429 x9 {namespace}-{name}-9] [retry-after 3600]", retry=once)],
            ),
        )

    for provider, which in NAMES.items():
        name = provider.lower()
        # Then a short while is waited for by the pod itself: no attempt is lost, and nobody is told of it
        assert succeeded(cluster, namespace, f"{name}-soon")["status"]["output"] == "at last"
        asked = model_requests(cluster, f"{namespace}-{name}]")
        assert [(named(entry), entry["status"]) for entry in asked] == [(which, 429), (which, 200)]
        for first, second in pairwise(asked):
            assert second["seconds"] - first["seconds"] >= 4, (
                f"{provider}: asked again before its server said"
            )
        [answered] = attempts(store, namespace, f"{name}-soon")
        assert (answered.state, answered.number) == ("Succeeded", 1)

        # And a long one by nobody: the attempt ends, and the step says why, and when the next one starts
        shown = step_of(wait_step(cluster, namespace, f"{name}-late", "ask", "Retrying"), "ask")
        assert shown["phase"] == "Waiting"
        assert f"model {which} at {HOST} answered 429: scripted failure 429" in shown["message"]
        assert shown["attempts"][0]["reason"] == "ModelRateLimited"
        [(reason, asked_to_wait, ended)] = store.rows(
            "SELECT a.reason, a.retry_after, a.ended_at FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
            " WHERE t.namespace = %s AND t.name = %s",
            namespace,
            f"{name}-late",
        )
        assert (reason, asked_to_wait) == ("ModelRateLimited", 3600)
        starts = datetime.fromisoformat(shown["message"].removeprefix("attempt 2 starts at ").split(";")[0])
        assert starts >= (ended + timedelta(seconds=3600)).replace(microsecond=0), "as its server says"
        assert told(cluster, f"{namespace}-{name}-9]") == [(which, 429)]


def test_refused_and_cut_off_answers_are_told_as_such(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given models that refuse, are cut off, or say nothing, with another one that would answer anything
    other = {"provider": "OpenAI", "name": "scripted-other", "baseURL": MODEL_URL}
    once = {"retry": {"limit": 1, "backoff": {"initial": "1s"}}, "continueOnError": True}
    for provider in NAMES:
        name = provider.lower()
        bounded = model(provider, maxOutputTokens=64, fallbacks=[other])
        steps = [
            prompt(word, f"[{word}] {namespace}-{name}-{word}", **once)
            for word in ("refuse", "cutoff", "empty")
        ]
        cluster.apply(
            namespace,
            agent(name, model=bounded),
            task(name, agentRef={"name": name}, runtime={"mode": "Task"}, steps=steps),
        )

    for provider, which in NAMES.items():
        name, label = provider.lower(), f"model {which} at {HOST}"
        ended = cluster.wait_task(namespace, name)
        refused, cut, empty = (step_of(ended, word) for word in ("refuse", "cutoff", "empty"))

        # Then each is told in words, a refusal with the model's own or with its server's
        assert {step["reason"] for step in (refused, cut, empty)} == {"ModelError"}, ended["status"]
        assert f"{label} refused to answer: " in refused["message"]
        why = "SAFETY" if provider == "Google" else "I cannot help with that."
        assert why in refused["message"]
        assert f"the answer of {label} was cut off at its token limit" in cut["message"]
        assert f"agent {name} allows 64: raise spec.model.maxOutputTokens" in cut["message"]
        assert f"{label} gave an empty answer" in empty["message"]

        # And a refusal is final, while the others are tried again; nobody else is asked for a better answer
        tried = {
            word: [(a.state, a.reason) for a in attempts(store, namespace, name, word)]
            for word in ("refuse", "cutoff", "empty")
        }
        failed = ("Failed", "ModelError")
        assert tried == {"refuse": [failed], "cutoff": [failed] * 2, "empty": [failed] * 2}
        for word, rows in tried.items():
            assert told(cluster, f"{namespace}-{name}-{word}") == [(which, 200)] * len(rows)


def test_fallbacks_are_asked_in_order_each_in_its_own_way(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given an agent whose first two models do not exist, each of its models with a key and parameters of its own
    keys = {"first": f"{namespace}-key-one", "third": f"{namespace}-key-three"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": keys}

    def key(name: str) -> dict[str, object]:
        return {"name": "keys", "key": name}

    claude = model("Anthropic", apiKeySecretRef=key("third"), maxOutputTokens=77, stopSequences=["END"])
    first = model(
        "OpenAI", "retired-one", apiKeySecretRef=key("first"), temperature="0.5", seed=7, maxOutputTokens=55
    )
    fallbacks = [model("Google", "retired-two", topP="0.25"), claude, model("OpenAI", "scripted-never")]
    cluster.apply(namespace, secret, agent("many", model={**first, "fallbacks": fallbacks}))

    # When it is asked twice
    steps = [prompt(name, f"echo: {namespace} {name}") for name in ("one", "two")]
    cluster.apply(namespace, task("ask", agentRef={"name": "many"}, runtime={"mode": "Task"}, steps=steps))
    ended = succeeded(cluster, namespace, "ask")

    # Then each time from the first on, in order, until one answers; the attempt says who, and why not the others
    for name in ("one", "two"):
        assert step_of(ended, name)["output"] == f"{namespace} {name}"
        asked = model_requests(cluster, f"echo: {namespace} {name}")
        assert [(named(entry), entry["status"]) for entry in asked] == [
            ("retired-one", 404),
            ("retired-two", 404),
            ("claude-haiku-4-5", 200),
        ]
        said = step_of(ended, name)["attempts"][0]["message"]
        assert said.startswith(
            f"answered by fallback model claude-haiku-4-5 at {HOST}, for model retired-one"
        )
        assert said.index("retired-one") < said.index("retired-two")
        assert len(attempts(store, namespace, "ask", name)) == 1

        # And each with its own key and parameters, none with another's
        one, two, three = asked
        assert one["apiKeySha256"] == key_hash(keys["first"])
        assert two["apiKeySha256"] not in {key_hash(text) for text in keys.values()}
        assert three["apiKeySha256"] == key_hash(keys["third"])
        body = one["request"]
        assert (body["temperature"], body["seed"]) == (0.5, 7)
        assert 55 in {body.get("max_tokens"), body.get("max_completion_tokens")}
        config = two["request"]["generationConfig"]
        assert config["topP"] == 0.25
        assert not {"temperature", "seed", "maxOutputTokens", "stopSequences"} & {
            field for field, value in config.items() if value is not None
        }
        body = three["request"]
        assert (body["max_tokens"], body["stop_sequences"]) == (77, ["END"])
        assert not {"temperature", "top_p"} & set(body)

    # And the keys stand nowhere else
    kinds = "agents,tasks,jobs,pods,events"
    shown = cluster.kubectl("get", kinds, "-n", namespace, "-o", "yaml")
    assert [text for text in keys.values() if text in shown] == []


def test_when_no_model_answers_all_their_words_are_told(
    cluster: Cluster, namespace: str, store: Store
) -> None:
    # Given agents whose models all fail: one for good, and one of whose models may be asked later
    gone = [model("Google", "retired-two"), model("Anthropic", "retired-three")]
    hopeless = {**model("OpenAI", "retired-one"), "fallbacks": gone}
    busy = {**model("OpenAI", "retired-one"), "fallbacks": [model("Anthropic")]}
    cluster.apply(namespace, agent("hopeless", model=hopeless), agent("busy", model=busy))
    again = {"limit": 2, "backoff": {"initial": "1s", "max": "1s"}}
    cluster.apply(
        namespace,
        task("never", agentRef={"name": "hopeless"}, steps=[prompt("ask", namespace, retry=again)]),
        task(
            "later",
            agentRef={"name": "busy"},
            steps=[prompt("ask", f"[fail 529 x1 {namespace}] [retry-after 61] echo: back", retry=again)],
        ),
    )

    # Then the first is not tried again, and says what each of them said
    never = cluster.wait_task(namespace, "never")
    assert condition(never, "Succeeded")["reason"] == "ModelError"
    message = condition(never, "Succeeded")["message"]
    assert "no model answered: model retired-one" in message
    for name in ("retired-one", "retired-two", "retired-three"):
        assert f"model {name} at {HOST} answered 404" in message
    assert [a.state for a in attempts(store, namespace, "never")] == ["Failed"]

    # And the other is, when the one that may be asked has said so; then it answers
    shown = step_of(wait_step(cluster, namespace, "later", "ask", "Retrying"), "ask")
    assert "answered 529" in shown["message"]
    assert "retired-one" in shown["message"]
    [(waits,)] = store.rows(
        "SELECT a.retry_after FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
        " WHERE t.namespace = %s AND t.name = 'later' AND a.number = 1",
        namespace,
    )
    assert waits == 61
    back = cluster.wait_task(namespace, "later")
    assert (back["status"]["phase"], back["status"]["output"]) == ("Succeeded", "back")
    assert [a.state for a in attempts(store, namespace, "later")] == ["Failed", "Succeeded"]
