"""Frames and pairs that were compared before: the same two frames need no second product.

Many streams of the same frames - other windows, other thresholds, other rules of
admission - compare the same pairs again and again. A frame is known here by a
digest of the tokens that are stored of it and of how they are compared, so what
comes out of the memory is what the kernel would compute, bit by bit, whichever
stream asks. The number of bytes is bounded; what was not used for longest goes.

A pair has an order, the newer frame first: the product of two frames and its
transpose may differ in the last bit. Nothing here is safe for several threads.

Main path: ``PairStore`` asks before it computes; its twin is the same store without
a memory, and tests hold one to the other bit by bit.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from musc.pair_kernel import Centred

_K = TypeVar("_K", bound=Hashable)


class TensorMemory(Generic[_K]):
    """Tensors by key, up to a number of bytes; the least recently used go first."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty.

        Args:
            limit_bytes: Bytes of all tensors held, at least 1.

        Raises:
            ValueError: No room for a single byte.
        """
        if limit_bytes < 1:
            msg = f"limit_bytes is {limit_bytes}, wanted at least 1"
            raise ValueError(msg)
        self._limit = limit_bytes
        self._held: OrderedDict[_K, tuple[Tensor, ...]] = OrderedDict()
        self._nbytes = 0
        self.hits = 0
        """How often something asked for was there."""
        self.misses = 0
        """How often it was not."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held, never more than the limit."""
        return self._nbytes

    def __len__(self) -> int:
        """Keys held."""
        return len(self._held)

    def get(self, key: _K) -> tuple[Tensor, ...] | None:
        """Return what was put under a key, not to be written to; None if it is not held."""
        held = self._held.get(key)
        if held is None:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return held

    def put(self, key: _K, *tensors: Tensor) -> None:
        """Hold tensors that nobody writes to any more; what is too large alone is not held."""
        self._drop(key)
        needed = sum(tensor.nbytes for tensor in tensors)
        if needed > self._limit:
            return
        while self._nbytes + needed > self._limit:
            self._drop(next(iter(self._held)))
        self._held[key] = tensors
        self._nbytes += needed

    def _drop(self, key: _K) -> None:
        """Forget a key, if it is held."""
        self._nbytes -= sum(tensor.nbytes for tensor in self._held.pop(key, ()))


class PairMemory:
    """The nearest tokens of pairs of frames, shared by any number of windows.

    With S = 4 stages, R = 3 degrees and P = 256 patches a pair takes 24.6 kB, and a
    frame that is made ready for comparison, with C = 384 channels, 1.6 MB.
    """

    def __init__(self, limit_bytes: int, frames_bytes: int = 0) -> None:
        """Start empty.

        Args:
            limit_bytes: Room for pairs, at least 1.
            frames_bytes: Room for frames made ready for comparison; 0 remembers none.

        Raises:
            ValueError: No room for a single byte of pairs.
        """
        self.pairs: TensorMemory[tuple[bytes, bytes]] = TensorMemory(limit_bytes)
        self.frames: TensorMemory[bytes] | None = (
            TensorMemory(frames_bytes) if frames_bytes else None
        )

    def centred(self, tokens: Tensor, rule: str, make: Callable[[], Centred]) -> Centred:
        """Return a frame made ready for comparison, from memory where it is known.

        Args:
            tokens: The backbone's patch tokens [S, P, C] of the frame.
            rule: What else ``make`` depends on.
            make: Makes it ready; nobody writes to what it returns.
        """
        if self.frames is None:
            return make()
        digest = tensor_digest(tokens, rule)
        held = self.frames.get(digest)
        if held is None:
            held = make()
            self.frames.put(digest, *held)
        return Centred(*held)

    def recall(self, newer: bytes, older: bytes) -> Tensor | None:
        """Return what is known of a pair.

        Args:
            newer: ``frame_digest`` of the frame that was compared with the other.
            older: Of the other, which was there before.

        Returns:
            [2, G, P], for each token of the newer frame and of the older one; None if
            it is not known.
        """
        held = self.pairs.get((newer, older))
        return None if held is None else held[0]

    def keep(self, newer: bytes, older: bytes, of_newer: Tensor, of_older: Tensor) -> None:
        """Remember a pair, [G, P] each way; the numbers are copied."""
        self.pairs.put((newer, older), torch.stack((of_newer, of_older)))


def frame_digest(frame: Centred, rule: str) -> bytes:
    """Return what tells a frame from all others that are compared by the same rule.

    Everything else that is known of a frame follows from its stored tokens and the
    degrees, so they alone are read: 1.6 MB, about 1 ms, at S = 4, P = 256, C = 384.

    Args:
        frame: One frame, as ``pair_kernel.centre`` returns it.
        rule: ``PairKernel.rule``, which names degrees and locality.
    """
    return tensor_digest(frame.tokens, rule)


def tensor_digest(tensor: Tensor, name: str = "") -> bytes:
    """Return what tells a tensor, and what it is to be used for, from all others.

    SHA-256 of its type, shape and numbers: about 1 ms for 1.6 MB.
    """
    numbers = tensor.contiguous().cpu()
    digest = hashlib.sha256(f"{name} {numbers.dtype} {tuple(numbers.shape)}".encode())
    digest.update(numbers.view(torch.uint8).numpy().data)
    return digest.digest()
