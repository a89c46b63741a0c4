"""Who gets how many rollouts, and what each weighs in the loss. numpy only.

Read `demand` (what a rule says), `counts` (the best counts for a budget), `rules` and `gains` (the
published rules), `plan` (all of it together).
"""

from gvmrl.allocate.bounds import Limits
from gvmrl.allocate.demand import Demand, Rule, in_proportion, maximise_gain, minimise_variance
from gvmrl.allocate.plan import Plan, RuleMismatchWarning, allocate
from gvmrl.allocate.rules.catalog import RULES, RuleName
from gvmrl.allocate.rules.masks import masked, mixed
from gvmrl.allocate.rules.weights import gvm, uniform
from gvmrl.allocate.update.forecast import Update
from gvmrl.allocate.update.objective import Objective

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
