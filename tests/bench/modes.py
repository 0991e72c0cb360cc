"""Ten prompt steps in one pod (runtime mode Task) against a pod for each (mode Job)."""

from tests.bench.bench import Bench, say
from tests.bench.chains import compare
from tests.bench.manifests import SCRIPTED, prompt_steps

PROMPTS = 10


def run(bench: Bench) -> None:
    """Print the ratio, and how many Jobs each mode made."""
    with bench.namespace() as namespace:
        made: dict[str, int] = {}

        def run_mode(mode: str) -> None:
            steps = prompt_steps(PROMPTS)
            name = bench.run_task(namespace, steps, runtime={"mode": mode}, **SCRIPTED)
            made[mode] = len(bench.cluster.list("job", namespace, f"parley.dev/task={name}"))

        run_mode("Task")
        compare(
            f"{PROMPTS} prompt steps, runtime mode Task",
            bench.sized(5),
            lambda: run_mode("Task"),
            lambda: run_mode("Job"),
            "mode Job",
        )
        say(f"  Jobs made: {made['Task']} in mode Task, {made['Job']} in mode Job")
