"""What the comparison comes to, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.peers.analysis import Comparison, Point, flops_to_reach, front, mean_gap, paired, percent
from experiments.peers.benches import Bench
from experiments.peers.methods import CORE_BUDGETS, METHODS, OURS, OURS_TRAINED


def findings(comparison: Comparison, bench: Bench) -> list[str]:
    """Wins by budget, the mean gap between the fronts, and what the uniform network's error costs us."""
    ours = [p for p in comparison.chosen if p.method in (OURS, OURS_TRAINED)]
    wins = (_wins(p, comparison, bench) for p in ours)
    return [*(line for line in wins if line), *_gaps(comparison, bench), *_reached(comparison, bench)]


def _wins(ours: Point, comparison: Comparison, bench: Bench) -> str | None:
    """Over how many of the methods that are given as much, at one budget; None where there is no other."""
    differences = [
        (METHODS[p.method].title, paired(p, ours, percent(bench.test)))
        for p in comparison.chosen
        if p.label == ours.label and _is_rival(p.method, ours.method)
    ]
    if not differences:
        return None
    ahead = [title for title, d in differences if d is not None and d.mean > 0]
    behind = [title for title, d in differences if d is not None and d.mean <= 0]
    unknown = [title for title, d in differences if d is None]
    given = ", from trained full size" if ours.method == OURS_TRAINED else ""
    return (
        f"- At {ours.label} %{given}: ours ahead of {len(ahead)} of {len(differences)} others in the mean"
        + (f"; not ahead of {', '.join(behind)}" if behind else "")
        + (f"; no seed in common with {', '.join(unknown)}" if unknown else "")
        + "."
    )


def _is_rival(method: str, ours: str) -> bool:
    return method != ours == METHODS[method].ours and METHODS[method].kind != "ablation"


def _gaps(comparison: Comparison, bench: Bench) -> Iterator[str]:
    """How far other fronts lie above ours."""
    budgeted = [name for name, method in METHODS.items() if method.budgeted]
    fronts = {name: front([p for p in comparison.chosen if p.method == name], percent(bench.test)) for name in budgeted}
    for name, others in fronts.items():
        gap = mean_gap(fronts[OURS], others) if name != OURS and fronts[OURS] and others else None
        if gap is not None:
            yield f"- Front of {METHODS[name].title}: {gap:+.2f} points of EER above ours on average over log FLOPs."


def _reached(comparison: Comparison, bench: Bench) -> Iterator[str]:
    """At what cost our front reaches the error of each uniform network, where we have that budget too."""
    test = percent(bench.test)
    by = {(p.method, p.label): p for p in comparison.chosen}
    ours_and_full = front([p for p in comparison.chosen if p.method in (OURS, "full")], test)
    for label in (p.label for p in comparison.chosen if p.method == OURS):
        uniform = by.get(("uniform", label))
        if uniform is None:
            continue
        (flops, value) = front([uniform], test)[0]
        needed = flops_to_reach(value, ours_and_full)
        if needed is None:
            said = "does not reach it"
        else:
            least = ", the least that was run" if needed == ours_and_full[0][0] else ""
            said = f"reaches it at {needed / flops:.2f} times its FLOPs{least}"
        yield f"- Uniformly narrower at {label} %: {value:.2f} %. Our front {said}."


def not_run(comparison: Comparison, bench: Bench) -> list[str]:
    """Which methods have no run at the budgets that come first; ablations are asked for at one alone."""
    done = {(p.method, p.label) for p in comparison.tried}
    lines = []
    for label in CORE_BUDGETS:
        absent = [
            method.title
            for name, method in METHODS.items()
            if bench.name in method.benches
            and (method.kind != "ablation" or label == CORE_BUDGETS[0])
            and (name, label if method.budgeted else "") not in done
        ]
        if absent:
            lines.append(f"- Not run at {label} %: {'; '.join(absent)}.")
    return lines
