"""Tasks of mixed shapes, each with the output it must have whatever is killed while it runs."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.e2e.conftest import MODEL_URL, agent, container, gives, schedule, session, task, template
from tests.e2e.servers import call, refund

SESSIONS = ("alice", "bob", "carol")
AGENTS = ({"name": "support"}, {"name": "buyer"})
SCHEDULE = "every-minute"
AGAIN = {"retry": {"limit": 3, "backoff": {"initial": "1s", "max": "2s"}}}
"""For prompts: a busy machine may keep a pod from the model for longer than a runner tries."""
SUPPORT = {"agentRef": {"name": "support"}}
FLAKY = f"""
import json, sys, urllib.request
body = {{"model": "scripted", "messages": [{{"role": "user", "content": sys.argv[1]}}]}}
headers = {{"Content-Type": "application/json"}}
request = urllib.request.Request("{MODEL_URL}/chat/completions", json.dumps(body).encode(), headers)
answer = json.load(urllib.request.urlopen(request, timeout=30))
open("/dev/termination-log", "w").write(answer["choices"][0]["message"]["content"])
"""


class Work(NamedTuple):
    """A task, and what it gives."""

    manifest: dict[str, Any]
    output: object
    turns: int = 0
    """Turns it has in its session."""
    pays: tuple[str, ...] = ()
    """The orders that it has the shop pay, each once; the shop knows them behind the namespace and a slash."""

    @property
    def name(self) -> str:
        return self.manifest["metadata"]["name"]


def shared() -> list[dict[str, object]]:
    """What the tasks refer to."""
    steps = [
        {"name": "count", "container": gives(1, after=1)},
        {"name": "add", "return": {"value": "{{ steps.count.output + inputs.n }}"}},
    ]
    narrow = agent("narrow", limits={"maxConcurrentTasks": 2})
    quick = {"steps": [{"name": "only", "return": {"value": 1}}]}
    word = {"type": "object", "properties": {"word": {"type": "string"}}}
    count = container('printf %s "$0" | wc -c > /dev/termination-log', args=["{{ arguments.word }}"])
    tools = [
        refund(),
        refund(name="guarded", approval="Required"),
        {"name": "count", "parameters": word, "container": count},
        {"name": "send", "task": {"templateRef": {"name": "send"}}},
    ]
    buyer = agent("buyer", tools=tools)
    kept = {"successfulTasksHistoryLimit": 1000, "failedTasksHistoryLimit": 1000}
    return [
        *(session(name, agents=AGENTS) for name in SESSIONS),
        narrow,
        buyer,
        template("send", quick),
        template("add-one", {"inputs": {"n": 0}, "steps": steps}),
        schedule(SCHEDULE, quick, schedule="* * * * *", **kept),
    ]


def flow(name: str, dice: random.Random) -> Work:
    """Branches, one left out and one that may fail, that meet."""
    a, b = dice.randrange(10), dice.randrange(10)
    steps = [
        {"name": "a", "needs": [], "container": gives(a, after=dice.randrange(4))},
        {"name": "b", "needs": [], "container": gives(b, after=dice.randrange(4))},
        {"name": "odd", "needs": ["a"], "when": "{{ steps.a.output % 2 == 1 }}", "return": {"value": -1}},
        {"name": "weak", "needs": ["b"], "continueOnError": True, "container": container("exit 3")},
        {
            "name": "sum",
            "needs": ["odd", "weak", "b"],
            "return": {"value": "{{ steps.a.output + steps.b.output }}"},
        },
    ]
    return Work(task(name, steps=steps), -1 if a % 2 else a + b)


def chain(name: str, dice: random.Random) -> Work:
    """Containers one after the other, with a sleep between, for an agent that runs few tasks at a time."""
    start = dice.randrange(100)
    add = container('printf "$0" > /dev/termination-log')
    steps = [
        {"name": "begin", "container": gives(start, after=dice.randrange(3))},
        {"name": "nap", "sleep": {"duration": f"{dice.randrange(1, 8)}s"}},
        {"name": "add", "container": add | {"args": ["{{ steps.begin.output + 1 }}"]}},
    ]
    return Work(task(name, agentRef={"name": "narrow"}, steps=steps), start + 1)


def items(name: str, dice: random.Random) -> Work:
    """A container for each of a list."""
    numbers = [dice.randrange(3) for _ in range(dice.randrange(2, 5))]
    each = container('sleep "$0"; printf "$1" > /dev/termination-log') | {
        "args": ["{{ item }}", "{{ item + index }}"]
    }
    steps = [{"name": "each", "forEach": {"items": numbers, "parallelism": 2}, "container": each}]
    return Work(task(name, steps=steps), [number + index for index, number in enumerate(numbers)])


def prompts(name: str, dice: random.Random) -> Work:
    """A prompt for each of a list: rounds of one Indexed Job."""
    words = [f"{name}-{number}" for number in range(dice.randrange(2, 5))]
    prompt = {"text": f"[slow {dice.randrange(3)}s] echo: {{{{ item }}}}"}
    steps = [{"name": "each", "forEach": {"items": words, "parallelism": 2}, "prompt": prompt, **AGAIN}]
    return Work(task(name, **SUPPORT, steps=steps), words)


def flaky(name: str, dice: random.Random) -> Work:
    """A container that fails once or twice, and a good one after."""
    command = [
        "python3",
        "-c",
        FLAKY,
        f"[fail 503 x{dice.randrange(1, 3)} {{{{ task.namespace }}}}-{name}] echo: {name}",
    ]
    step = {
        "name": "try",
        **AGAIN,
        "container": {"image": "parley:dev", "command": command},
    }
    return Work(
        task(name, steps=[step, {"name": "end", "return": {"value": "{{ steps.try.output }}"}}]), name
    )


def asks(name: str, dice: random.Random) -> Work:
    """A task of a conversation that asks a person in its middle."""
    steps = [
        {"name": "begin", "container": gives(7)},
        {
            "name": "confirm",
            "wait": {"question": f"{name}?", "choices": ["approve", "reject"], "timeout": "1h"},
        },
        {"name": "tell", "prompt": {"text": f"echo: {name} {{{{ steps.confirm.output.choice }}}}"}, **AGAIN},
    ]
    ref = {"sessionRef": {"name": dice.choice(SESSIONS)}}
    return Work(task(name, **ref, steps=steps), f"{name} approve", turns=1)


def parent(name: str, dice: random.Random) -> Work:
    """Children of a template, one for each of a list, and one written out."""
    numbers = [dice.randrange(10) for _ in range(2)]
    inline = {"steps": [{"name": "total", "container": gives("done")}]}
    child = {"templateRef": {"name": "add-one"}, "inputs": {"n": "{{ item }}"}}
    steps = [
        {"name": "each", "forEach": {"items": numbers, "parallelism": 2}, "task": child},
        {"name": "last", "task": {"spec": inline}},
    ]
    output = {"each": "{{ steps.each.output }}", "last": "{{ steps.last.output }}"}
    return Work(task(name, steps=steps, output=output), {"each": [n + 1 for n in numbers], "last": "done"})


def turn(name: str, dice: random.Random) -> Work:
    """A turn of a conversation."""
    ref = {"sessionRef": {"name": dice.choice(SESSIONS)}}
    step = {"name": "say", "prompt": {"text": f"[slow {dice.randrange(3)}s] echo: {name}"}, **AGAIN}
    return Work(task(name, **ref, steps=[step]), name, turns=1)


def staying(name: str, dice: random.Random) -> Work:
    """Prompts of one conversation in one pod."""
    count = dice.randrange(3, 6)
    steps = [
        {"name": f"p{n}", "prompt": {"text": f"[slow 1s] echo: {name}-{n}"}, **AGAIN} for n in range(count)
    ]
    ref = {"sessionRef": {"name": dice.choice(SESSIONS)}}
    return Work(task(name, **ref, runtime={"mode": "Task"}, steps=steps), f"{name}-{count - 1}", turns=count)


def buys(name: str, dice: random.Random) -> Work:
    """A turn whose model pays twice, the second time with a person's approval."""
    free, asked = f"{name}-free", f"{name}-asked"
    ours = "{{ task.namespace }}/"
    calls = f"{call('refund', order=ours + free, amount=1)} [then] {call('guarded', order=ours + asked, amount=1)}"
    steps = [{"name": "buy", "prompt": {"text": calls}, **AGAIN}, {"name": "end", "return": {"value": name}}]
    by = {"sessionRef": {"name": dice.choice(SESSIONS)}, "agentRef": {"name": "buyer"}}
    return Work(task(name, **by, steps=steps), name, turns=1, pays=(free, asked))


def jobs(name: str, dice: random.Random) -> Work:
    """Tools that run as Jobs and as Tasks, called by a model and by a step."""
    word = "x" * dice.randrange(1, 30)
    calls = f"{call('count', word=word)} {call('send')}"
    steps = [
        {"name": "ask", "prompt": {"text": calls}, **AGAIN},
        {"name": "count", "tool": {"name": "count", "arguments": {"word": word}}},
    ]
    return Work(task(name, agentRef={"name": "buyer"}, steps=steps), len(word))


def files(name: str, dice: random.Random) -> Work:
    """A large output, from file to file."""
    size = dice.randrange(10_000, 1_000_000)
    write = {
        "image": "parley:dev",
        "command": ["python3", "-c", f"open('/parley/output', 'w').write('x' * {size})"],
        "outputFrom": "File",
    }
    count = "import json; text = json.load(open('/parley/input.json')); open('/dev/termination-log', 'w').write(str(len(text)))"
    read = {
        "image": "parley:dev",
        "command": ["python3", "-c", count],
        "inputFile": "{{ steps.write.output }}",
    }
    return Work(
        task(name, steps=[{"name": "write", "container": write}, {"name": "read", "container": read}]), size
    )


SHAPES: tuple[Callable[[str, random.Random], Work], ...] = (
    flow, chain, items, prompts, flaky, asks, parent, turn, staying, files, buys, jobs,
)  # fmt: skip


def mixed(count: int, dice: random.Random) -> list[Work]:
    """So many tasks, of all shapes in equal parts, in a random order."""
    chosen = [SHAPES[number % len(SHAPES)] for number in range(count)]
    dice.shuffle(chosen)
    return [shape(f"{shape.__name__}-{number:03d}", dice) for number, shape in enumerate(chosen)]
