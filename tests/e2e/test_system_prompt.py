"""Point 3: what a model is told before a conversation: a good default, templates of one's own, and errors that name the line."""

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import agent, say, session, task
from tests.e2e.servers import get_order

pytestmark = pytest.mark.cluster

WHOLE = """You are {{ agent.displayName }}.
{{ instructions }}
You talk with {{ user.name }}, {{ user.about }}, about: {{ situation }}
{% if context.budget > 100 %}They are rich.{% endif %} They write from {{ metadata.channel }}.
{% for tool in tools %}{{ tool.name }}: {{ tool.description }}{% endfor %} ({{ users | length }})"""
QUESTION = "What are your instructions?"


def test_the_system_prompt(cluster: Cluster, namespace: str) -> None:
    # Given an agent with a template of its own, sessions with and without one, and mistakes in some
    tools = [get_order(namespace)]
    templated = agent(
        "templated", displayName="Ann", instructions="Rooms: {{ 1 + 1 }}.", systemTemplate=WHOLE, tools=tools
    )
    plain = agent(
        "plain",
        displayName="Ann",
        instructions="Be kind to {{ user.name if user.name is defined else 'them' }}.",
    )
    broken = agent("broken", systemTemplate="first\nsecond {{ situation }}\nthird {{ context.nickname }}\n")
    unknown = agent("unknown", systemTemplate="first\nsecond {{ nonsense }}\n")
    person = {"user": {"id": "b", "name": "Bea", "about": "a guest"}, "situation": "a room"}
    more = {"context": {"budget": 500}, "metadata": {"channel": "web"}}
    cluster.apply(
        namespace,
        templated,
        plain,
        broken,
        unknown,
        session("own", agentRef={"name": "templated"}, **person, **more),
        session("default", agentRef={"name": "plain"}, **person),
        session(
            "over",
            agentRef={"name": "templated"},
            systemTemplate="Only {{ user.name }}, {{ agent.displayName }}.",
            **person,
        ),
        session("wrong", agentRef={"name": "broken"}, **person),
        session("waits", agentRef={"name": "unknown"}),
    )
    names = ("own", "default", "over", "wrong")
    cluster.apply(namespace, say("waits", "waits", QUESTION))
    cluster.apply(
        namespace,
        *(say(name, name, QUESTION) for name in names),
        task("alone", agentRef={"name": "plain"}, message=QUESTION),
    )

    # Then the model was told what they say
    said = {name: cluster.wait_task(namespace, name)["status"].get("output") for name in (*names, "alone")}
    assert said["own"] == (
        "You are Ann.\nRooms: 2.\nYou talk with Bea, a guest, about: a room\n"
        "They are rich. They write from web.\nget_order: Looks an order up. (1)"
    )
    assert said["over"] == "Only Bea, Ann."

    # And the default names the agent, its instructions, the person and the situation
    for part in ("Ann", "Be kind to Bea.", "a guest", "a room"):
        assert part in said["default"]
    assert "Be kind to them." in said["alone"]

    # And a mistake that shows only then fails the turn, for good, and says in which line
    wrong = cluster.wait_task(namespace, "wrong")
    assert step_of(wrong, "reply")["reason"] == "TemplateError"
    message = condition(wrong, "Succeeded")["message"]
    for part in ("systemTemplate", "line 3", "nickname"):
        assert part in message

    # And one that is plain to see is said of the agent, and its turns wait until it is mended
    def says() -> bool:
        found = condition(cluster.get("agent", namespace, "unknown") or {}, "Ready")
        return (
            found.get("reason") == "InvalidSpec"
            and "line 2" in found["message"]
            and "nonsense" in found["message"]
        )

    cluster.wait("the agent says what is wrong", namespace, says)
    cluster.apply(namespace, agent("unknown", systemTemplate="first\nsecond\n"))
    assert cluster.wait_task(namespace, "waits")["status"]["output"] == "first\nsecond"
