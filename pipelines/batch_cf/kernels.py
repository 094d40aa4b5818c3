"""Run the inner loops: sum pairs of item rows, merge partial sums, gather terms for scoring, keep the best of a row.

numba compiles these functions without the interpreter lock, so threads run them side by side. Sums are integers, so the
order of users, blocks or threads cannot change them. A pair's number is an item index. Item order is id order, so a tie
broken by index is broken by id. The pairs of a row come in any order, and `top_k` sorts them.

Item and user indices are unsigned here. numba tests a signed index for a negative value before every access, which
doubled the time of these loops (Gowalla: 0.41 s against 0.18 s a pass).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["count_pairs", "gather_terms", "merge_pairs", "top_k", "weigh_pairs"]

_Int32s = npt.NDArray[np.int32]
_Indices = npt.NDArray[np.uint32]
_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def count_pairs(
    start: int,
    stop: int,
    item_indptr: _Int64s,
    item_users: _Indices,
    user_indptr: _Int64s,
    user_items: _Indices,
    counter: _Int32s,
    row_ends: _Int64s,
    columns: _Indices,
    counts: _Int32s,
) -> int:
    """Count the users that each item of rows [start, stop) shares with each other item.

    The pairs of row start + r are written to columns and counts at [row_ends[r - 1], row_ends[r]). The function stops
    before a row that might not fit. A row needs at most `items` + 1 places. counter is int32 [items] and all zero
    before and after.

    Returns:
        The first row that is not done.
    """
    items = counter.shape[0]
    used = np.uint64(0)
    for row in range(start, stop):
        if row > start and used + np.uint64(items) >= np.uint64(columns.shape[0]):
            return row
        first = used
        counter[row] = 1  # as if seen before, so that the row's own item is never noted
        for place in range(np.uint64(item_indptr[row]), np.uint64(item_indptr[row + 1])):
            user = item_users[place]
            for position in range(np.uint64(user_indptr[user]), np.uint64(user_indptr[user + np.uint32(1)])):
                item = user_items[position]
                seen = counter[item]
                columns[used] = item  # written always, kept if new: a branch here is mispredicted half the time
                used += np.uint64(seen == 0)
                counter[item] = seen + 1
        for place in range(first, used):
            item = columns[place]
            counts[place] = counter[item]
            counter[item] = 0
        counter[row] = 0
        row_ends[row - start] = used
    return stop


@numba.njit(cache=True, nogil=True)
def weigh_pairs(
    start: int,
    stop: int,
    item_indptr: _Int64s,
    item_places: _Int64s,
    item_users: _Indices,
    user_indptr: _Int64s,
    user_items: _Indices,
    weights: _Float64s,
    user_scale: _Float64s,
    counter: _Int32s,
    adder: _Int64s,
    row_ends: _Int64s,
    columns: _Indices,
    counts: _Int32s,
    sums: _Int64s,
) -> int:
    """Sum the weights of pairs beside their counts, otherwise as `count_pairs`.

    A user adds rint(w_ui w_uj user_scale[u]) to sums. user_scale holds the power of two that makes the product an
    integer. item_places[p] is the place in user_items (and weights) of entry p of the item-major matrix.
    """
    items = counter.shape[0]
    used = np.uint64(0)
    for row in range(start, stop):
        if row > start and used + np.uint64(items) >= np.uint64(columns.shape[0]):
            return row
        first = used
        counter[row] = 1
        for place in range(np.uint64(item_indptr[row]), np.uint64(item_indptr[row + 1])):
            user = item_users[place]
            own = weights[item_places[place]]
            scale = user_scale[user]
            for position in range(np.uint64(user_indptr[user]), np.uint64(user_indptr[user + np.uint32(1)])):
                item = user_items[position]
                seen = counter[item]
                columns[used] = item
                used += np.uint64(seen == 0)
                counter[item] = seen + 1
                adder[item] += np.int64(np.rint((own * weights[position]) * scale))
        for place in range(first, used):
            item = columns[place]
            counts[place] = counter[item]
            sums[place] = adder[item]
            counter[item] = 0
            adder[item] = 0
        counter[row] = 0
        adder[row] = 0
        row_ends[row - start] = used
    return stop


@numba.njit(cache=True, nogil=True)
def merge_pairs(
    segment_indptr: _Int64s,
    segment_starts: _Int64s,
    segment_stops: _Int64s,
    columns_in: _Indices,
    counts_in: _Int64s,
    sums_in: _Int64s,
    counter: _Int64s,
    adder: _Int64s,
    row_ends: _Int64s,
    columns: _Indices,
    counts: _Int64s,
    sums: _Int64s,
) -> None:
    """Add up partial sums of the same rows. A pair whose count and sum both come to 0 is dropped.

    Row r is made of segments segment_indptr[r] .. segment_indptr[r + 1], each a range of the *_in arrays. A column
    occurs at most once in a segment. counter and adder are int64 [items], zero before and after. The outputs are at
    most as long as the inputs. Parts to subtract carry negative numbers.
    """
    used = 0
    for row in range(segment_indptr.shape[0] - 1):
        first = used
        for segment in range(segment_indptr[row], segment_indptr[row + 1]):
            for place in range(np.uint64(segment_starts[segment]), np.uint64(segment_stops[segment])):
                item = columns_in[place]
                if counter[item] == 0 and adder[item] == 0:  # cancelled on the way: noted twice, the second finds 0
                    columns[np.uint64(used)] = item
                    used += 1
                counter[item] += counts_in[place]
                adder[item] += sums_in[place]
        kept = first
        for place in range(first, used):
            item = columns[place]
            if counter[item] != 0 or adder[item] != 0:  # a changed weight: +1 - 1 users, and yet a difference
                columns[kept] = item
                counts[kept] = counter[item]
                sums[kept] = adder[item]
                kept += 1
            counter[item] = 0
            adder[item] = 0
        used = kept
        row_ends[row] = used


@numba.njit(cache=True, nogil=True)
def gather_terms(
    row_ends: _Int64s,
    columns: _Indices,
    counts: _Int32s | _Int64s,
    row_marginals: _Float64s,
    marginals: _Float64s,
    n_ij: _Float64s,
    n_i: _Float64s,
    n_j: _Float64s,
) -> None:
    """Gather the terms of a similarity for every pair, its count and both marginals, as float64 in one pass."""
    start = 0
    for row in range(row_ends.shape[0]):
        own = row_marginals[row]
        for place in range(np.uint64(start), np.uint64(row_ends[row])):
            n_ij[place] = counts[place]
            n_i[place] = own
            n_j[place] = marginals[columns[place]]
        start = row_ends[row]


@numba.njit(cache=True, nogil=True)
def top_k(
    row_ends: _Int64s,
    columns: _Indices,
    score_bits: _Int32s,
    eligible: npt.NDArray[np.bool_],
    best_places: _Int64s,
    lengths: _Int64s,
) -> None:
    """Find the best eligible pairs of every row: by score, highest first, then by item index.

    score_bits holds the float32 scores seen as int32, with no -0.0 among them. best_places is int64 [rows, k], places
    in `columns`. Only the first lengths[row] places of a row are written.
    """
    k = best_places.shape[1]
    buffer = np.empty(4 * k, np.int64)  # candidates that beat the k-th best so far; when full, the best k stay
    place_of = np.empty(eligible.shape[0], np.uint64)
    start = 0
    for row in range(row_ends.shape[0]):
        size = 0
        threshold = np.int64(np.iinfo(np.int64).min)
        least = np.int32(np.iinfo(np.int32).min)  # the threshold's score: most pairs are done with after looking at it
        for place in range(np.uint64(start), np.uint64(row_ends[row])):
            bits = score_bits[place]
            bits ^= (bits >> np.int32(31)) & np.int32(0x7FFFFFFF)  # below zero, more bits mean less: turn them round
            if bits < least:
                continue
            item = columns[place]
            key = (np.int64(bits) << np.int64(32)) | np.int64(np.uint32(~item))  # unique in a row
            if key > threshold and eligible[item]:
                place_of[item] = place
                buffer[size] = key
                size += 1
                if size == buffer.shape[0]:
                    _keep_largest(buffer, size, k)
                    size = k
                    threshold = buffer[:k].min()
                    least = np.int32(threshold >> np.int64(32))
        if size > k:
            _keep_largest(buffer, size, k)
            size = k
        buffer[:size].sort()
        for rank in range(size):
            item = ~np.uint32(buffer[size - 1 - rank])
            best_places[row, rank] = place_of[item]
        lengths[row] = size
        start = row_ends[row]


@numba.njit(cache=True, nogil=True)
def _keep_largest(keys: _Int64s, size: int, k: int) -> None:
    """Move the k largest of keys[:size], all different, to the front: Hoare's quickselect, median of three."""
    low, high = 0, size - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left, right = low, high
        while left <= right:
            while keys[left] > pivot:
                left += 1
            while keys[right] < pivot:
                right -= 1
            if left <= right:
                keys[left], keys[right] = keys[right], keys[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            return
