"""The strategies by name."""

from gvmrl.strategy.config import StrategyName
from gvmrl.strategy.paced import paced
from gvmrl.strategy.rivals import dapo, thompson
from gvmrl.strategy.spaced import spaced
from gvmrl.strategy.waves import Strategy

STRATEGIES: dict[StrategyName, Strategy] = {
    "paced": paced,
    "spaced": spaced,
    "thompson": thompson,
    "dapo": dapo,
    "oracle": paced,
}
"""oracle is paced with measured rates instead of believed ones."""
