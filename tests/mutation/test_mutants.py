"""The places that ./dev mutate changes: all that decide, and none in a comment, in a text or in the bracket of a template."""

from __future__ import annotations

import pytest

import mutate
from mutants import mutants_of


def changed(text: str) -> list[str]:
    return [mutant.changed for mutant in mutants_of("base/example.hpp", text)]


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("if (a < b) {", ["if (a >= b) {", "if (a <= b) {"]),
        ("if (a <= b) {", ["if (a > b) {", "if (a < b) {"]),
        ("if (a > b) {", ["if (a <= b) {", "if (a >= b) {"]),
        ("if (a >= b) {", ["if (a < b) {", "if (a > b) {"]),
        ("return a == b;", ["return a != b;"]),
        ("return a != b;", ["return a == b;"]),
        ("return a && b;", ["return a || b;"]),
        ("return a || b;", ["return a && b;"]),
        ("return !a;", ["return a;"]),
        ("return -left(now);", ["return left(now);"]),
        ("next_ = now + pause;", ["next_ = now - pause;"]),
        ("left = end - now;", ["left = end + now;"]),
        ("pause_ = pause_ * 2;", ["pause_ = pause_ / 2;"]),
        ("pause_ = pause_ / 2;", ["pause_ = pause_ * 2;"]),
        ("sum += one;", ["sum -= one;"]),
        ("++count_;", ["--count_;"]),
        ("lost_ = true;", ["lost_ = false;"]),
        ("return false;", ["return true;"]),
        ("std::min(a, b);", ["std::max(a, b);"]),
        ("return earlier(a, b);", ["return later(a, b);"]),
    ],
)
def test_each_decision_has_its_mutants(line: str, mutants: list[str]) -> None:
    assert changed(line) == mutants


@pytest.mark.parametrize(
    "line",
    [
        "// a < b && !c",
        "/* a < b */",
        'log("a < b && true");',
        "char less = '<';",
        "#if A > B",
        "std::optional<std::array<int, 3>> value;",
        "Actions(Actions&& other) noexcept;",
        "std::string* name = &other;",
        "milliseconds pause{-1};",
    ],
)
def test_what_decides_nothing_has_none(line: str) -> None:
    assert changed(line) == []


def test_a_mutant_says_where_it_is_and_is_the_whole_source() -> None:
    text = "// One.\nif (a < b) {\n    return c == d;\n}\n"
    mutant = list(mutants_of("base/example.hpp", text))[-1]
    assert (mutant.file, mutant.line, mutant.original) == ("base/example.hpp", 3, "return c == d;")
    assert mutant.text == text.replace("==", "!=")


def test_each_policy_has_a_source_and_a_test() -> None:
    policies = {policy.name: policy for policy in mutate.policies()}
    assert {"refresh_schedule", "wait_schedule", "child_lifecycle", "readiness", "freeze_detector"} <= set(policies)
    assert [path.name for path in policies["child_lifecycle"].sources] == ["child_lifecycle.cpp", "child_lifecycle_rolling.cpp"]
    assert [path.name for path in policies["readiness"].sources] == ["readiness.cpp"]
    for policy in policies.values():
        assert policy.tests, policy.name
        for path in [policy.header, *policy.sources, *policy.tests, *policy.needed]:
            assert path.exists(), path
