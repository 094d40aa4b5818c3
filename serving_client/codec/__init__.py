"""How do Python values become a TensorProto, and how does one become a numpy array again?

    proto = to_tensor([["a", "b", ""]])     # DT_STRING [1, 3]
    array = to_array(proto)                 # object [1, 3] of bytes

What goes out. numpy arrays and scalars keep their dtype. Of Python values the first one decides: float gives float32
(models are; a value beyond its range is refused), int gives int64, bool gives bool, str (as UTF-8) and bytes give
strings; bools may stand among ints, and both among floats. An empty list is float32. `dtype` says otherwise: a numpy
dtype, or str for strings; values that it cannot hold are refused, floats may lose digits. Lists nest, all of a level
equally long. Numbers go as `tensor_content`, strings as `string_val`.

What comes in. All that a server may send: `tensor_content` (strings, too), the `*_val` lists, and `*_val` cut short,
where the last value stands for all that follow and none stands for zeros. Arrays are fresh and writable. Strings are
bytes in an object array; bfloat16 becomes float32, which holds it exactly.

A value or message that makes no sense raises CodecError. Memory stays in proportion to the message, but for lists cut
short: those of one response may grow to MAX_REPEATED_BYTES.
"""

from serving_client.codec.decoding import MAX_REPEATED_BYTES, strings, to_array, to_arrays
from serving_client.codec.encoding import MAX_CONTENT_BYTES, to_tensor, write_tensor
from serving_client.codec.kinds import CodecError

__all__ = [
    "MAX_CONTENT_BYTES",
    "MAX_REPEATED_BYTES",
    "CodecError",
    "strings",
    "to_array",
    "to_arrays",
    "to_tensor",
    "write_tensor",
]
