"""Results on a terminal: what passages say reaches the eye, and nothing of it the terminal's commands."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from flmr.records import Hit, Passage, Query
from flmr.show import show_facts, show_hits, show_query, show_run, show_table


@pytest.fixture
def out() -> Console:
    return Console(file=io.StringIO(), width=60, highlight=False)


def printed(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize(
    "text", ["心脏线是一个圆上的固定一点在它绕着与其相切的圆周滚动时所形成的轨迹。" * 5, "a rose is red " * 30]
)
def test_long_texts_keep_to_their_lines_whatever_their_script(out: Console, text: str) -> None:
    show_hits(out, [Hit("a", 1.0, 1, Passage("a", text))], lines=2)
    head, *body = printed(out).splitlines()
    assert head.split() == ["1", "1.000", "a", "a"]
    assert len(body) == 2 and all(line.startswith(" " * 15) and cell_len(line) <= out.width for line in body)
    assert body[1].endswith(" …") and not body[0].endswith("…")


def test_a_text_that_fits_is_shown_whole(out: Console) -> None:
    show_hits(out, [Hit("a", 1.0, 1, Passage("a", "a  rose\nis red")), Hit("b", 0.5, 2)])
    assert [line.strip() for line in printed(out).splitlines()] == [
        "1     1.000  a  a",
        "a rose is red",
        "2     0.500  b  b",
    ]


def test_what_would_command_the_terminal_is_not_printed(out: Console) -> None:
    evil = "\x1b]0;mine\x07 \x1b[31mred\x9b2J [bold]kept[/bold]"
    show_hits(out, [Hit(evil, 1.0, 1, Passage(evil, evil, title=evil))])
    show_query(out, Query(evil))
    show_run(out, {evil: [(evil, 1.0)]}, None)
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in printed(out))
    assert printed(out).count("[bold]kept[/bold]") == 6


def test_a_table_too_wide_for_the_terminal_is_shown_in_parts_and_loses_no_figure(out: Console) -> None:
    columns = ["", *(f"measure {n}" for n in range(9))]
    rows = [[f"@{k}", *(k + n / 10 for n in range(9))] for k in (5, 10)]
    show_table(out, columns, rows, blocks=[3, 3, 3])
    lines = [line.split() for line in printed(out).splitlines()]
    assert all(cell_len(line) <= out.width for line in printed(out).splitlines())
    assert [line[0] for line in lines] == ["measure", "@5", "@10"] * 3
    assert [line[1:] for line in lines if line[0] == "@5"] == [
        [f"{5 + n / 10:.4f}" for n in range(first, first + 3)] for first in (0, 3, 6)
    ]
    wide = Console(file=io.StringIO(), width=200)
    show_table(wide, columns, rows, blocks=[3, 3, 3])
    assert len(printed(wide).splitlines()) == 3


def test_facts_leave_out_what_is_empty(out: Console) -> None:
    show_facts(out, {"recipe": {"task": "", "pool": 1, "evaluate": {}, "exact": False}, "encoder": None, "items": 0})
    assert printed(out).splitlines() == ["recipe   pool 1, exact no", "items    0"]
