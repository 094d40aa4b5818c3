"""Convert Python values to TensorProto, and TensorProto to numpy arrays.

    proto = to_tensor([["a", "b", ""]])     # DT_STRING [1, 3]
    array = to_array(proto)                 # object [1, 3] of bytes

To a tensor: numpy arrays and scalars keep their dtype. For Python values the type of the first value decides:

    float         float32, the dtype of most models; a value beyond its range raises
    int, bool     int64, bool
    str, bytes    strings; str is encoded as UTF-8
    empty list    float32

Bools may occur among ints, and both among floats. `dtype` overrides this: a numpy dtype, or str for strings. A value
that the dtype cannot hold raises, but floats may lose digits. Lists may be nested, with equal lengths at each level.
Numbers are written as `tensor_content`, strings as `string_val`.

From a tensor: every form that a server may send is read. These are `tensor_content` (also for strings), the `*_val`
lists, and shortened `*_val` lists, whose last value is repeated (zeros if the list is empty). Arrays are new and
writable. Strings become bytes in an object array. bfloat16 becomes float32, which holds it exactly.

An invalid value or message raises CodecError. Memory stays in proportion to the message, except for shortened lists.
Those of one response may grow to MAX_REPEATED_BYTES.
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
