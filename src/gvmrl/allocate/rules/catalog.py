"""The rules by name.

A rule that is not here is passed to `allocate` as a function; nothing has to be registered.
"""

import difflib
from functools import partial
from typing import Literal

from gvmrl.allocate.demand import Rule
from gvmrl.allocate.rules.gains import coba, hora, knapsack, vip
from gvmrl.allocate.rules.matched import least_variance, neyman
from gvmrl.allocate.rules.rounds import pilot_commit, reinforce_ada, speed
from gvmrl.allocate.rules.weights import cures, dars, e3, gvm, informative, uniform
from gvmrl.allocate.update.estimators import Estimator

RuleName = Literal[
    "uniform",
    "gvm",
    "neyman",
    "least_variance",
    "cures",
    "vip",
    "knapsack",
    "coba",
    "hora",
    "dars",
    "e3",
    "informative",
    "speed",
    "pilot_commit",
    "reinforce_ada",
]

RULES: dict[RuleName, Rule] = {
    "uniform": uniform,
    "gvm": gvm,
    "neyman": neyman,
    "least_variance": least_variance,
    "cures": cures,
    "vip": vip,
    "knapsack": knapsack,
    "coba": coba,
    "hora": hora,
    "dars": dars,
    "e3": e3,
    "informative": informative,
    "speed": speed,
    "pilot_commit": pilot_commit,
    "reinforce_ada": reinforce_ada,
}

MADE_FOR: dict[RuleName, tuple[Estimator, ...]] = {
    "gvm": ("raft",),
    "cures": ("rloo", "dr_grpo"),
    "vip": ("rloo", "dr_grpo"),
}
"""The estimators whose variance a rule minimises, for rules that minimise one."""

ROUND_RULES: frozenset[RuleName] = frozenset({"hora", "speed", "pilot_commit", "reinforce_ada"})
"""Rules that know what to do with a prompt that was never tried."""


def rule_named(name: str) -> Rule:
    """Look a rule up.

    Raises:
        ValueError: If there is none of that name; the nearest one is suggested.
    """
    for known, function in RULES.items():
        if name == known:
            return function
    near = difflib.get_close_matches(name, RULES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RULES)}"
    raise ValueError(f"there is no rule {name!r}; {hint}")


def name_of(rule: Rule) -> RuleName | None:
    """Return the name of a rule or of one with settings; None for a function of the user's."""
    function = rule.func if isinstance(rule, partial) else rule
    return next((name for name, known in RULES.items() if known is function), None)


def describe(rule: Rule) -> str:
    """Return a rule's name with the settings it was given."""
    if not isinstance(rule, partial):
        return getattr(rule, "__name__", type(rule).__name__)
    settings = [f"{name}={_shown(value)}" for name, value in rule.keywords.items()]
    return f"{describe(rule.func)}({', '.join(settings)})"


def fitted(rule: Rule, estimator: Estimator) -> Rule:
    """Return the rule with its `estimator` set, where it has that setting and it is not set yet."""
    settings = rule.keywords if isinstance(rule, partial) else {}
    name = name_of(rule)
    forms = {"neyman": True, "least_variance": True, "vip": estimator in ("rloo", "dr_grpo")}
    if name is not None and forms.get(name, False) and "estimator" not in settings:
        return partial(rule, estimator=estimator)
    return rule


def target_of(rule: Rule) -> tuple[Estimator, ...]:
    """Return the estimators whose variance the rule minimises; none if it minimises no variance."""
    settings = rule.keywords if isinstance(rule, partial) else {}
    name = name_of(rule)
    if name in ("neyman", "least_variance", "vip") and "estimator" in settings:
        return (settings["estimator"],)
    return MADE_FOR.get(name, ()) if name is not None else ()


def _shown(value: object) -> str:
    """Return a setting for a person: functions by name."""
    return getattr(value, "__name__", repr(value))
