"""Who gets how many rollouts, and what each weighs in the loss. numpy only.

Read `demand` (what a rule says), `counts` (the best counts for a budget), `rules` and `gains` (the
published rules), `plan` (all of it together).
"""

from gvmrl.allocate.bounds import Limits
from gvmrl.allocate.catalog import RULES, RuleName
from gvmrl.allocate.demand import Demand, Rule, in_proportion, maximise_gain, minimise_variance
from gvmrl.allocate.forecast import Update
from gvmrl.allocate.masks import masked, mixed
from gvmrl.allocate.objective import Objective
from gvmrl.allocate.plan import Plan, RuleMismatchWarning, allocate
from gvmrl.allocate.rules import gvm, uniform

__all__ = [
    "RULES",
    "Demand",
    "Limits",
    "Objective",
    "Plan",
    "Rule",
    "RuleMismatchWarning",
    "RuleName",
    "Update",
    "allocate",
    "gvm",
    "in_proportion",
    "masked",
    "maximise_gain",
    "minimise_variance",
    "mixed",
    "uniform",
]
