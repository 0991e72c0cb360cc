"""What the scripted model says: from a request to one reply. ``scripted_model`` lists the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from scripted_calls import (
    Json,
    Message,
    ended_tasks,
    offered_tools,
    said_beside,
    text_of,
    tool_calls,
    trailing_results,
)

LONG = re.compile(r"\[long (\d+)\]")
DIRECTIVE = re.compile(r"\[(?:fail|drop|retry-after|slow|pace|long|badjson|refuse|cutoff|empty)\b[^\]]*\]\s*")
NAME = re.compile(r"\bmy name is (\w+)", re.IGNORECASE)
ORDER = re.compile(r"\border (?:number )?#?(\d+)\b", re.IGNORECASE)
ECHO = re.compile(r"(?:[^\n:]{1,80}: )?echo:(.*)", re.IGNORECASE | re.DOTALL)
FIND = re.compile(r"(?:[^\n:]{1,80}: )?find: *(.+)", re.IGNORECASE | re.DOTALL)
SUMMARY = "In short:"


@dataclass
class Reply:
    """What the model answers: one assistant message."""

    content: str | None = None
    refusal: str | None = None
    calls: list[tuple[str, Json]] = field(default_factory=list)
    finish_reason: str = "stop"

    def words(self) -> int:
        """Count of words, which stands in for tokens."""
        spoken = (self.content or "") + " " + (self.refusal or "")
        called = " ".join(f"{name} {json.dumps(arguments)}" for name, arguments in self.calls)
        return len(spoken.split()) + len(called.split())


class BadRequestError(ValueError):
    """The request is not one that OpenAI's API would take."""


def user_texts(messages: list[Message]) -> list[str]:
    """Return the texts of the user's messages, newest first."""
    return [text_of(message) for message in reversed(messages) if message.get("role") == "user"]


def known_texts(messages: list[Message]) -> list[str]:
    """Return the texts that the model knows facts from, newest first: the user's, then summaries given to it."""
    told = [text_of(message) for message in messages if message.get("role") in ("system", "developer")]
    return user_texts(messages) + [text.split(SUMMARY, 1)[1] for text in told if SUMMARY in text]


def remembered(pattern: re.Pattern[str], texts: list[str]) -> str | None:
    """Return what the newest message that matches says."""
    for text in texts:
        if found := pattern.findall(text):
            return str(found[-1])
    return None


def answer(request: dict[str, Any]) -> Reply:
    """Decide the answer from the request alone."""
    messages: list[Message] = request["messages"]
    texts = user_texts(messages)
    last = texts[0] if texts else ""
    if wants_summary(last):
        return Reply(content=summarize(messages))
    if calls := tool_calls(last, messages, request) if messages[-1].get("role") in ("user", "tool") else []:
        return Reply(content=said_beside(last), calls=calls, finish_reason="tool_calls")
    if "[refuse]" in last:
        return Reply(refusal="I cannot help with that.")
    if "[empty]" in last:
        return Reply(content="")
    if found := LONG.search(last):
        return Reply(content=("long " * (int(found[1]) // 5 + 1))[: int(found[1])])
    schema = (request.get("response_format") or {}).get("json_schema", {}).get("schema") or schema_in_words(
        messages
    )
    if "[badjson]" in last or any("[badjson always]" in text for text in texts):
        reply = Reply(content='{"unexpected": tru')
    elif schema is not None:
        reply = Reply(content=json.dumps(build(schema, schema, texts, ""), separators=(",", ":")))
    else:
        reply = Reply(content=converse(messages, texts, request))
    if "[cutoff]" in last:
        return Reply(content=(reply.content or "")[:10], finish_reason="length")
    return reply


def schema_in_words(messages: list[Message]) -> Json:
    """Return the JSON Schema that a system message writes out; None if there is none."""
    for message in messages:
        _, found, rest = text_of(message).partition("JSON Schema:")
        if found and message.get("role") == "system":
            return json.JSONDecoder().raw_decode(rest.lstrip())[0]
    return None


def converse(messages: list[Message], texts: list[str], request: dict[str, Any]) -> str:
    """Answer in words."""
    if messages[-1].get("role") == "tool":
        return "The tool says: " + "; ".join(trailing_results(messages))
    said = DIRECTIVE.sub("", texts[0] if texts else "").strip()
    if echo := ECHO.match(said):
        return echo[1].strip()
    if find := FIND.match(said):
        return f"I can see it in {sum(find[1].strip() in text_of(m) for m in messages[:-1])} messages."
    question = re.search(r"(what|which|how many)\b.*\?", said.lower(), re.DOTALL)
    if question and (reply := answer_question(question[0], messages, request)):
        return reply
    if found := NAME.search(said):
        return f"Nice to meet you, {found[1]}."
    if found := ORDER.search(said):
        return f"I will look at order {found[1]}."
    return f"You said: {said}"


def wants_summary(text: str) -> bool:
    """Whether a message asks for a summary; what else it holds is what was said, directives too."""
    return text.lstrip().lower().startswith(("summarize", "summarise"))


def summarize(messages: list[Message]) -> str:
    """Say in short what the messages hold: the newest name and order that are mentioned."""
    texts = [text_of(message) for message in reversed(messages)]
    name, order = remembered(NAME, texts), remembered(ORDER, texts)
    facts = [f"my name is {name}." if name else "", f"I ask about order {order}." if order else ""]
    return " ".join([SUMMARY, *filter(None, facts)] if any(facts) else [SUMMARY, "nothing to remember."])


def answer_question(question: str, messages: list[Message], request: dict[str, Any]) -> str | None:
    """Answer what it can know: the name, the order, the tools, the ended tasks, how much it sees, the instructions."""
    texts = known_texts(messages)
    if "my name" in question:
        name = remembered(NAME, texts)
        return f"Your name is {name}." if name else "I do not know your name."
    if "order" in question and not ORDER.search(question):
        order = remembered(ORDER, texts)
        return f"Your order is {order}." if order else "I do not know your order."
    if "how many messages" in question:
        spoken = sum(message.get("role") in ("user", "assistant") for message in messages)
        return f"I can see {spoken} messages."
    if "tools" in question:
        return f"My tools: {', '.join(offered_tools(request)) or 'none'}."
    if "ended" in question:
        return ended_tasks(messages)
    if "instructions" in question:
        return "\n\n".join(text_of(m) for m in messages if m.get("role") in ("system", "developer"))
    return None


def build(schema: Json, root: Json, texts: list[str], name: str) -> Json:
    """Build a value that fits a JSON Schema.

    Args:
        schema: the schema to fit; ``$ref`` must point into ``root``.
        root: the whole schema.
        texts: the user's messages, newest first, for values they name.
        name: the property the value is for, or "".
    """
    if not isinstance(schema, dict):
        return "text"
    while "$ref" in schema:
        schema = resolve(schema["$ref"], root)
    if union := schema.get("anyOf") or schema.get("oneOf"):
        return build(union[0], root, texts, name)
    if "allOf" in schema:
        schema = merge([schema, *schema["allOf"]], root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return choose(schema["enum"], texts)
    return build_type(schema, root, texts, name)


def build_type(schema: dict[str, Json], root: Json, texts: list[str], name: str) -> Json:
    """Build a value of the schema's type."""
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        properties = schema.get("properties") or {}
        return {key: build(value, root, texts, key) for key, value in properties.items()}
    if kind == "array":
        return build_array(schema, root, texts, name)
    return build_scalar(str(kind), schema, texts, name)


def build_array(schema: dict[str, Json], root: Json, texts: list[str], name: str) -> list[Json]:
    """Build an array of as many items as the schema needs, one at least if it may have one."""
    items = [build(one, root, texts, name) for one in schema.get("prefixItems", [])]
    wanted = max(int(schema.get("minItems", 1)), 1) if schema.get("maxItems", 1) else 0
    while len(items) < wanted and schema.get("items") is not False:
        items.append(build(schema.get("items", {}), root, texts, name))
    return items


def build_scalar(kind: str, schema: dict[str, Json], texts: list[str], name: str) -> Json:
    """Build a string, number, boolean or null; the message's value for the property wins where it fits."""
    if kind == "null":
        return None
    if kind == "boolean":
        return bool(name) and bool(re.search(rf"\b{re.escape(name)}\b", "".join(texts[:1]), re.IGNORECASE))
    value = {"string": r"([\w.@-]+\w|\w)", "number": r"(-?\d+(?:\.\d+)?)"}.get(kind, r"(-?\d+)\b")
    pattern = re.compile(rf"\b{re.escape(name)}[:=]?\s+#?{value}", re.IGNORECASE)
    spoken = remembered(pattern, texts) if name else None
    if kind == "string":
        text = (spoken or "text").ljust(int(schema.get("minLength", 0)), "x")
        return text[: int(schema.get("maxLength", len(text)))]
    number: float = float(spoken) if spoken is not None else float(schema.get("minimum", 1))
    low = schema.get("minimum", schema.get("exclusiveMinimum", number - 1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", number + 1) - 1)
    number = min(max(number, low), high)
    return int(number) if kind == "integer" or number == int(number) else number


def choose(values: list[Json], texts: list[str]) -> Json:
    """Choose the value that the newest telling message names most often, the later one of equals."""
    for text in texts:
        counts = {
            str(value): [m.start() for m in re.finditer(rf"\b{re.escape(str(value))}\b", text, re.IGNORECASE)]
            for value in values
        }
        found = [value for value in values if counts[str(value)]]
        # A message that names every value equally often, such as a complaint about an answer, tells nothing.
        if len(found) == 1 or len({len(counts[str(value)]) for value in found}) > 1:
            return max(found, key=lambda value: (len(counts[str(value)]), counts[str(value)][-1]))
    return values[0]


def resolve(reference: str, root: Json) -> Json:
    """Return what a local reference such as ``#/$defs/kind`` points to."""
    if not reference.startswith("#"):
        raise BadRequestError(f"response_format: $ref {reference!r} does not point into the schema")
    target = root
    for step in filter(None, reference[1:].split("/")):
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target


def merge(schemas: list[Json], root: Json) -> dict[str, Json]:
    """Merge the schemas of an ``allOf``, properties included."""
    merged: dict[str, Json] = {}
    for schema in schemas:
        part = resolve(schema["$ref"], root) if "$ref" in schema else schema
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        merged.update({key: value for key, value in part.items() if key != "allOf"})
        if properties:
            merged["properties"] = properties
    return merged


def message_of(reply: Reply) -> Message:
    """Return a reply as an assistant message."""
    message: Message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for index, (name, arguments) in enumerate(reply.calls)
        ]
    return message


def deltas(reply: Reply) -> Iterator[tuple[Message, str | None]]:
    """Cut a reply into the deltas of a stream."""
    yield {"role": "assistant"}, None
    for word in re.findall(r"\S+\s*", reply.content or ""):
        yield {"content": word}, None
    if reply.refusal:
        yield {"refusal": reply.refusal}, None
    for index, call in enumerate(message_of(reply).get("tool_calls", [])):
        yield {"tool_calls": [{"index": index, **call}]}, None
    yield {}, reply.finish_reason
