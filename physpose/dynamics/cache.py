"""Values built from a chain's tensors, kept until one of these changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor

from physpose.chain import KinematicChain

T = TypeVar("T")
P = TypeVar("P", bound=Sequence[Tensor])


def per_chain(build: Callable[[KinematicChain, P], T]) -> Callable[[KinematicChain, P], T]:
    """Keep the latest ``build(chain, tensors)`` of each chain while the tensors stay in place, unwritten."""
    # The tensors are kept too, so that no other can take their place in memory and look the same.
    kept: WeakKeyDictionary[KinematicChain, tuple[object, list[Tensor], T]] = WeakKeyDictionary()

    @wraps(build)
    def latest(chain: KinematicChain, tensors: P) -> T:
        key = [(x.data_ptr(), x._version, x.dtype) for x in tensors]
        found = kept.get(chain)
        if found is None or found[0] != key:
            found = kept[chain] = key, [x.detach() for x in tensors], build(chain, tensors)
        return found[2]

    return latest
