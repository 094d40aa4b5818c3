"""A model of the contract for MLServer: it answers as `contract` of tests/serving/models.py, in plain Python."""

from mlserver import MLModel, types

from tests.serving import models


class ContractModel(MLModel):
    """Inputs history, and exclude or candidates, BYTES [rows, width]; "" is padding."""

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        rows = {one.name: _rows(one) for one in payload.inputs}
        if "candidates" in rows:
            pairs = zip(rows["history"], rows["candidates"], strict=True)
            scores = [models.score(history, item) for history, items in pairs for item in items]
            outputs = [_tensor("scores", "FP32", len(rows["history"]), scores)]
        else:
            (history,) = rows["history"]
            (exclude,) = rows.get("exclude", [[]])
            items = models.recommend(history, exclude)
            padding = models.TOP_K - len(items)
            scores = [models.score(history, item) for item in items] + [float("-inf")] * padding
            encoded = [item.encode() for item in items] + [b""] * padding
            outputs = [_tensor("items", "BYTES", 1, encoded), _tensor("scores", "FP32", 1, scores)]
        return types.InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)


def _rows(tensor):
    count, width = tensor.shape
    flat = [item.decode() for item in tensor.data]
    return [flat[row * width : (row + 1) * width] for row in range(count)]


def _tensor(name, datatype, rows, data):
    return types.ResponseOutput(name=name, shape=[rows, len(data) // rows], datatype=datatype, data=data)
