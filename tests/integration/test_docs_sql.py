"""The queries that documentation and demo offer run on the schema as it is."""

import re
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/outputs-and-logs.md",
    "docs/troubleshooting.md",
    "examples/demo.sh",
)
FENCE = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def queries(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    found = [query for block in FENCE.findall(text) for query in block.split(";") if query.strip()]
    found += re.findall(r"psql[^\n]* -c '([^']+)'", text)
    found += [query.replace("$namespace", "default") for query in re.findall(r'="(SELECT [^"]+)"', text)]
    return found


def test_every_page_with_sql_is_read() -> None:
    assert {page: len(queries(page)) for page in PAGES} == {
        "README.md": 0,
        "CONTRIBUTING.md": 1,
        "docs/outputs-and-logs.md": 3,
        "docs/troubleshooting.md": 3,
        "examples/demo.sh": 1,
    }


@pytest.mark.parametrize("query", [query for page in PAGES for query in queries(page)])
def test_a_query_from_the_docs_runs(query: str, database: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute(query.encode()).description is not None
