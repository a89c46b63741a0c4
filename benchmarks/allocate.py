"""How fast the allocator is: scaling, memory, and ratios to simpler ways, all in one run.

    python benchmarks/allocate.py [--largest 1000000]

Times are seconds of processor time; ratios and growth are what to look at. Set OMP_NUM_THREADS=1.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.optimize import LinearConstraint, milp, minimize

from gvmrl import PromptStats, allocate
from gvmrl.allocate import RULES, Rule
from gvmrl.allocate.counts import apportion, greedy
from gvmrl.allocate.demand import Proportional
from gvmrl.allocate.rules.matched import least_variance
from gvmrl.data import FloatArray, IntArray

ROLLOUTS = 8
"""Mean rollouts of a prompt."""
LO, HI = 1, 64


def seconds(task: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of several runs."""
    times: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def u_shaped(num_prompts: int) -> PromptStats:
    """Statistics of a set with many prompts near 0 and 1."""
    generator = np.random.default_rng(0)
    trials_P = np.full(num_prompts, 8.0)
    rate_P = generator.beta(0.3, 0.4, num_prompts)
    return PromptStats(
        ids=tuple(f"prompt-{row}" for row in range(num_prompts)),
        trials_P=trials_P,
        successes_P=generator.binomial(8, rate_P).astype(np.float64),
        grad_norm_P=generator.gamma(4, 0.25, num_prompts),
        round_trials_P=np.full(num_prompts, 4.0),
        round_successes_P=generator.binomial(4, rate_P).astype(np.float64),
    )


def scaling(largest: int) -> None:
    """Print the time of every rule, with bounds, for growing numbers of prompts."""
    sizes = [size for size in (10**4, 10**5, 10**6) if size <= largest]
    sets = {size: u_shaped(size) for size in sizes}
    rules: dict[str, Rule] = {
        **RULES,
        "least_variance raft": partial(least_variance, estimator="raft"),
    }
    print(
        f"\nallocate(stats, {ROLLOUTS} P, rule, lo={LO}, hi={HI}); seconds, by number of prompts P"
    )
    print(f"{'rule':<20} {'kernel':<8}" + "".join(f"{size:>12,}" for size in sizes) + "   growth")
    for name, rule in rules.items():
        kernel = "weight" if isinstance(rule(sets[sizes[0]]), Proportional) else "gain"
        times = [
            seconds(
                partial(allocate, stats, ROLLOUTS * size, rule=rule, lo=LO, hi=HI),
                1 + (size < 10**6),
            )
            for size, stats in sets.items()
        ]
        growth = np.log(times[-1] / times[0]) / np.log(sizes[-1] / sizes[0])
        print(
            f"{name:<20} {kernel:<8}" + "".join(f"{t:>12.4f}" for t in times) + f"   P^{growth:.2f}"
        )


def memory(largest: int) -> None:
    """Print the peak memory of a proportional and of a greedy rule."""
    print("\npeak memory on top of the statistics, bytes per prompt")
    for size in (size for size in (10**4, 10**5, 10**6) if size <= largest):
        stats = u_shaped(size)
        for name in ("gvm", "vip", "knapsack"):
            tracemalloc.start()
            allocate(stats, ROLLOUTS * size, rule=name, lo=LO, hi=HI)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"{name:<10} P = {size:>9,}: {peak / size:7.0f}")


def by_loop(
    trials: list[float], successes: list[float], norms: list[float], budget: int
) -> list[int]:
    """Allocate by GVM one prompt after the other, as the public code does, from the formula."""
    weights: list[float] = []
    for trial, success, norm in zip(trials, successes, norms, strict=True):
        rate = success / trial
        weights.append(norm / (rate + 1e-3 / rate) ** 0.5 if rate > 0 else 0.0)
    total = sum(weights)
    shares = [budget * weight / total for weight in weights]
    counts = [int(share) for share in shares]
    order = sorted(range(len(counts)), key=lambda row: counts[row] - shares[row])
    for row in order[: budget - sum(counts)]:
        counts[row] += 1
    return counts


def against_the_loop(largest: int) -> None:
    """Print the ratio to a plain loop (which knows no bounds and is not optimal)."""
    print("\nGVM without bounds: seconds of a Python loop, of allocate, and the ratio")
    for size in (size for size in (10**3, 10**4, 10**5, 10**6) if size <= largest):
        stats = u_shaped(size)
        assert stats.grad_norm_P is not None
        columns = [c.tolist() for c in (stats.tried_P, stats.accepted_P, stats.grad_norm_P)]
        loop = seconds(partial(by_loop, *columns, ROLLOUTS * size))
        ours = seconds(partial(allocate, stats, ROLLOUTS * size, rule="gvm"))
        print(f"P = {size:>9,}: {loop:8.4f} {ours:8.4f} {loop / ours:8.1f}")


def against_scipy() -> None:
    """Print ratios to general solvers, and that the optimum is the same."""
    generator = np.random.default_rng(0)
    print("\nsum w^2 / n, bounds 1 to 64: SLSQP (real numbers), apportion (whole), ratio; variance")
    for size in (10, 30, 100):
        weight_P = generator.gamma(0.5, size=size)
        lo_P, hi_P = np.full(size, 1.0), np.full(size, 64.0)
        real: list[FloatArray] = []

        def solve(weight_P: FloatArray = weight_P, real: list[FloatArray] = real) -> None:
            real[:] = [slsqp(weight_P, ROLLOUTS * weight_P.size)]

        general = seconds(solve, 1)
        whole_P = apportion(weight_P, ROLLOUTS * size, lo_P=lo_P, hi_P=hi_P)
        ours = seconds(partial(apportion, weight_P, ROLLOUTS * size, lo_P=lo_P, hi_P=hi_P))
        values = [float((weight_P**2 / n_P).sum()) for n_P in (real[0], whole_P)]
        print(
            f"P = {size:>4}: {general:8.4f} {ours:8.5f} {general / ours:8.0f}; "
            f"{values[0]:.5f} real, {values[1]:.5f} whole"
        )
    print("\nknapsack gains, bounds 2 to 32: scipy milp (exact), greedy, ratio; value")
    for size in (10, 100, 300):
        rate_P = generator.uniform(0.02, 0.98, size)
        gain_PN = np.stack([knapsack_gain(rate_P, n) for n in range(2, 32)], axis=1)
        exact: list[IntArray] = []

        def whole(gain_PN: FloatArray = gain_PN, exact: list[IntArray] = exact) -> None:
            exact[:] = [by_milp(gain_PN, ROLLOUTS * gain_PN.shape[0])]

        general = seconds(whole, 1)
        task = partial(
            greedy,
            lambda n_P, rate_P=rate_P: knapsack_gain(rate_P, n_P),
            ROLLOUTS * size,
            lo_P=np.full(size, 2.0),
            hi_P=np.full(size, 32.0),
        )
        ours = seconds(task)
        taken_PN = np.arange(2, 32) < task()[:, None]
        best = float((gain_PN * (np.arange(2, 32) < exact[0][:, None])).sum())
        print(
            f"P = {size:>4}: {general:8.4f} {ours:8.5f} {general / ours:8.0f}; "
            f"{best:.9f} milp, {float((gain_PN * taken_PN).sum()):.9f} greedy"
        )


def slsqp(weight_P: FloatArray, budget: int) -> FloatArray:
    """Return [P] the real counts that a general solver finds."""

    def variance(n_P: FloatArray) -> float:
        return float((weight_P**2 / n_P).sum())

    def slope(n_P: FloatArray) -> FloatArray:
        return -((weight_P / n_P) ** 2)

    def excess(n_P: FloatArray) -> float:
        return float(n_P.sum()) - budget

    result = minimize(
        variance,
        np.full(weight_P.size, budget / weight_P.size),
        jac=slope,
        bounds=[(1, 64)] * weight_P.size,
        constraints={"type": "eq", "fun": excess},
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    return np.asarray(result.x, np.float64)


def by_milp(gain_PN: FloatArray, budget: int) -> IntArray:
    """Return [P] the counts of an integer program with one variable for each rollout."""
    size = gain_PN.shape[0]
    total = LinearConstraint(np.ones((1, gain_PN.size)), budget - 2 * size, budget - 2 * size)
    result = milp(-gain_PN.ravel(), constraints=total, integrality=1, bounds=(0, 1))
    return 2 + np.round(result.x).reshape(gain_PN.shape).sum(axis=1).astype(np.int64)


def knapsack_gain(rate_P: FloatArray, count: FloatArray | int) -> FloatArray:
    """Return [P] the gain of Knapsack RL."""
    miss_P = 1 - rate_P
    return rate_P * miss_P**2 * (rate_P**count * miss_P + miss_P**count * rate_P)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=10**6, help="most prompts")
    largest = parser.parse_args().largest
    scaling(largest)
    memory(largest)
    against_the_loop(largest)
    against_scipy()


if __name__ == "__main__":
    main()
