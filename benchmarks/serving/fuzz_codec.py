"""Search for responses that make the codec raise an error other than CodecError, guided by coverage, until stopped.

    pip install atheris                                             # in a separate environment
    PYTHONPATH=. python benchmarks/serving/fuzz_codec.py -max_total_time=300 CORPUS_FOLDER

Options are those of libFuzzer. Every input is parsed as a TensorProto and as a PredictResponse. The test
tests/serving/client/test_codec_fuzz.py checks the same properties without coverage. Add inputs found here to that test
as examples.
"""

from __future__ import annotations

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["serving_client"]):
    from serving_client import codec
    from serving_client.protocol import messages

from google.protobuf.message import DecodeError

__all__ = ["main"]


def read(data: bytes) -> None:
    """Raises what the codec must not raise."""
    with contextlib.suppress(DecodeError):
        proto = messages.TensorProto.FromString(data)
        with contextlib.suppress(codec.CodecError):
            if codec.to_array(proto).shape != tuple(dim.size for dim in proto.tensor_shape.dim):
                raise RuntimeError("another shape than the message has")
        with contextlib.suppress(codec.CodecError):
            codec.strings(proto)
    with contextlib.suppress(DecodeError, codec.CodecError):
        codec.to_arrays(messages.PredictResponse.FromString(data).outputs)


def main() -> None:
    """Runs libFuzzer's loop; it ends the process itself."""
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
