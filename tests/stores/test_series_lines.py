"""Lines are exactly what the rows say, whatever they hold, and the culprits of a refusal are found."""

from __future__ import annotations

import math
from urllib.parse import unquote

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.rows import merge
from pumpwatch.stores.series_lines import (
    Refused,
    TooLarge,
    extra_lines,
    send,
    station_lines,
    tag,
)

NAMES = ["level_m", "pump1_run", "pump1_hours_h", "pump1_starts", "h2s_ppm"]
KEY = SiteKey("a-town", "mh0001")
chunks = st.integers(0, 8).flatmap(
    lambda n: st.builds(
        Chunk,
        st.lists(st.integers(0, 2**42), min_size=n, max_size=n).map(
            lambda t: np.array(t, np.int64)
        ),
        st.dictionaries(
            st.sampled_from(NAMES),
            st.lists(st.floats(), min_size=n, max_size=n).map(lambda v: np.array(v, np.float64)),
        ),
    )
)


def parsed(line: str) -> tuple[str, dict[str, str], dict[str, float | int], int]:
    """A line without any escape, read as strictly as it gets."""
    head, fields, t_ms = line.split(" ")
    measurement, *tags = head.split(",")
    values: dict[str, float | int] = {}
    for assignment in fields.split(","):
        name, text = assignment.split("=")
        assert name not in values
        values[name] = int(text[:-1]) if text.endswith("i") else float(text)
    return measurement, dict(tag.split("=") for tag in tags), values, int(t_ms)


@given(chunks)
def test_a_line_says_every_finite_value_of_its_row_and_nothing_else(chunk: Chunk) -> None:
    lines = station_lines(KEY, chunk)
    assert len(lines) == len(chunk)
    for i, line in enumerate(lines):
        measurement, tags, values, t_ms = parsed(line)
        assert (measurement, tags) == ("station", {"tenant": "a-town", "site": "mh0001"})
        assert t_ms == chunk.t_ms[i]
        row = values.pop("row")
        assert type(row) is int
        assert row == 1
        assert all(type(value) is float for value in values.values())
        assert values == {
            name: column[i]
            for name, column in chunk.signals.items()
            if name != "h2s_ppm" and math.isfinite(column[i])
        }


@given(chunks, st.text(max_size=8))
def test_what_is_beside_has_a_line_for_each_value(chunk: Chunk, name: str) -> None:
    values = chunk.signals.get("h2s_ppm", np.full(len(chunk), np.nan))
    lines = extra_lines(KEY, name, Chunk(chunk.t_ms, {name: values}))
    assert len(lines) == np.isfinite(values).sum()
    for line in lines:
        measurement, tags, fields, _ = parsed(line)
        assert measurement == "extra"
        assert tags == {"tenant": "a-town", "site": "mh0001", "signal": tag(name)}
        assert set(fields) == {"value"}


@given(st.text())
def test_any_name_becomes_a_harmless_tag_of_its_own(name: str) -> None:
    said = tag(name)
    assert said
    assert not set(said) & set(" ,=\"'\\\n\t{}|()*+?[]")
    assert unquote(said) == (name or "%")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 70))
def test_halving_finds_exactly_the_lines_that_are_refused(bad: list[bool], most: int) -> None:
    taken: list[str] = []

    def post(text: str) -> None:
        lines = text.split("\n")
        if len(lines) > most:
            raise TooLarge
        if any(line.startswith("bad") for line in lines):
            raise Refused(lines[0])
        taken.extend(lines)

    lines = [f"{'bad' if wrong else 'good'} {i}" for i, wrong in enumerate(bad)]
    refused = send(post, lines)
    assert refused == {i: lines[i] for i, wrong in enumerate(bad) if wrong}
    assert taken == [line for line in lines if line.startswith("good")]


@given(st.lists(chunks, max_size=4))
def test_merging_is_what_a_dictionary_would_do(parts: list[Chunk]) -> None:
    truth: dict[int, dict[str, float]] = {}
    for part in parts:
        for i, t_ms in enumerate(part.t_ms.tolist()):
            row = truth.setdefault(t_ms, {})
            row.update({n: v[i] for n, v in part.signals.items() if not math.isnan(v[i])})
    merged = merge(parts)
    assert merged.t_ms.tolist() == sorted(truth)
    for i, t_ms in enumerate(merged.t_ms.tolist()):
        has = {n: v[i] for n, v in merged.signals.items() if not math.isnan(v[i])}
        assert has == truth[t_ms]
