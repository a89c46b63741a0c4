"""Rules by name."""

from functools import partial
from typing import get_args

import pytest

from gvmrl.allocate import RULES, RuleName, gvm
from gvmrl.allocate.demand import Demand, Rule
from gvmrl.allocate.rules.catalog import describe, fitted, name_of, rule_named, target_of
from gvmrl.allocate.rules.gains import vip
from gvmrl.allocate.rules.matched import least_variance, neyman
from gvmrl.allocate.rules.rates import beta_rate
from gvmrl.stats import PromptStats


def users_own(stats: PromptStats) -> Demand:
    return gvm(stats)


def test_every_name_has_a_rule() -> None:
    assert tuple(RULES) == get_args(RuleName)
    assert all(name_of(rule_named(name)) == name for name in RULES)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="no rule 'neymann'; did you mean 'neyman'"):
        rule_named("neymann")
    with pytest.raises(ValueError, match="no rule 'best'; there are uniform, gvm"):
        rule_named("best")


def test_a_rule_is_described_with_its_settings() -> None:
    assert describe(gvm) == "gvm"
    rule = partial(gvm, alpha=0.5, rate=beta_rate)
    assert describe(rule) == "gvm(alpha=0.5, rate=beta_rate)"
    assert describe(users_own) == "users_own"
    assert name_of(rule) == "gvm"
    assert name_of(users_own) is None


def test_rules_for_an_estimator_take_the_one_in_use_unless_they_have_one() -> None:
    assert describe(fitted(neyman, "raft")) == "neyman(estimator='raft')"
    assert describe(fitted(vip, "dr_grpo")) == "vip(estimator='dr_grpo')"
    set_already = partial(least_variance, estimator="rloo")
    unchanged: list[tuple[Rule, str]] = [(vip, "raft"), (gvm, "raft"), (set_already, "raft")]
    for rule, estimator in unchanged:
        assert fitted(rule, estimator) is rule  # pyright: ignore[reportArgumentType]


def test_what_a_rule_minimises() -> None:
    assert target_of(gvm) == ("raft",)
    assert target_of(partial(neyman, estimator="grpo")) == ("grpo",)
    assert target_of(partial(gvm, alpha=0)) == ("raft",)
    assert target_of(RULES["dars"]) == ()
    assert target_of(users_own) == ()
