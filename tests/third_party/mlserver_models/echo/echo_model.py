"""Gives its inputs back, as MLServer has decoded and encodes them."""

from mlserver import MLModel, types


class EchoModel(MLModel):
    """Any inputs; the outputs have their names."""

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        outputs = [
            types.ResponseOutput(name=one.name, shape=one.shape, datatype=one.datatype, data=list(one.data))
            for one in payload.inputs
        ]
        return types.InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
