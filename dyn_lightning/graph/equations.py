"""Equations of einsum, each dimension with a letter of its own."""

from __future__ import annotations

from collections.abc import Sequence

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum_terms(equation: str, dims: Sequence[int]) -> tuple[list[str], str] | None:
    """The letters of each tensor and of the result.

    Letters are put in for what "..." stands for, the same from the right in all tensors, as those dimensions are
    broadcast; where the equation has no "->", the result has those, and then in alphabetical order what occurs once.

    Args:
        equation: without or with blanks.
        dims: the number of dimensions of each tensor.

    Returns:
        None where the equation does not fit the tensors.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(dims):
        return None
    hidden = [n - len(term.replace("...", "")) if "..." in term else 0 for term, n in zip(terms, dims, strict=True)]
    if min(hidden, default=0) < 0:
        return None
    free = [letter for letter in _LETTERS if letter not in left]
    widest = max(hidden, default=0)
    if widest > len(free):
        return None
    spare = "".join(free[:widest])
    filled = [term.replace("...", spare[widest - n :]) for term, n in zip(terms, hidden, strict=True)]
    if any(len(term) != n for term, n in zip(filled, dims, strict=True)):
        return None
    if arrow:
        return filled, right.replace("...", spare)
    named = left.replace(",", "").replace(".", "")
    return filled, spare + "".join(sorted(x for x in set(named) if named.count(x) == 1))
