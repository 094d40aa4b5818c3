"""Run in ovmsclient's environment: makes calls with it and prints what came of each, as JSON by name."""

import json
import sys

import numpy as np
import ovmsclient

client = ovmsclient.make_grpc_client(sys.argv[1])


def plain(value):
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.kind, "values": plain(value.tolist())}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def outcome(call):
    try:
        return plain(call())
    except ovmsclient.ModelServerError as error:  # the base of its errors
        return {"error": type(error).__name__, "message": str(error)}


history = np.array([["c03", "c07", ""]])
typed = {
    "f": np.array([1.5], np.float32),
    "i": [2],  # it makes int32 of Python's integers
    "l": np.array([3], np.int64),
    "s": ["a"],
}
calls = {
    "floats": lambda: client.predict({"x": [1.0, 2.0]}, "half_plus_two", model_version=1),
    "scalar": lambda: client.predict({"x": 4.0}, "half_plus_two", model_version=1),
    "content": lambda: client.predict({"x": np.ones((2, 2), np.float32)}, "half_plus_two", model_version=1),
    "strings": lambda: client.predict({"history": history}, "contract", model_version=1),
    "typed": lambda: client.predict(typed, "typed", model_version=1),
    "status": lambda: client.get_model_status("half_plus_two", model_version=1),
    "metadata": lambda: client.get_model_metadata("contract", model_version=1),
    "no version": lambda: client.predict({"x": [1.0]}, "half_plus_two"),
    "unknown model": lambda: client.predict({"x": [1.0]}, "nope", model_version=1),
    "unknown version": lambda: client.get_model_status("half_plus_two", model_version=9),
    "unknown input": lambda: client.predict({"z": [1.0]}, "half_plus_two", model_version=1),
    "wrong dtype": lambda: client.predict({"x": ["a"]}, "half_plus_two", model_version=1),
}
print(json.dumps({name: outcome(call) for name, call in calls.items()}))
