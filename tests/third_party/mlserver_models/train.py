"""Run in MLServer's environment, in a folder for its models: trains them, and writes what scikit-learn answers.

Features of a row: number of the candidate, length of the history, whether the candidate's number is even.
"""

import json
import pathlib

import joblib
import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

ROWS = np.array([[number, length, number % 2 == 0] for number in range(20) for length in range(4)], np.float32)


def save(name, model, implementation="mlserver_sklearn.SKLearnModel", version="3"):
    folder = pathlib.Path(name)
    folder.mkdir(exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": name,
        "implementation": implementation,
        "parameters": {"uri": "./model.joblib", "version": version},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))


rng = np.random.default_rng(7)
target = np.sin(ROWS[:, 0]) * 5 + ROWS[:, 1] + rng.normal(size=len(ROWS))
ranker = GradientBoostingRegressor(n_estimators=30, random_state=0).fit(ROWS, target)
clicks = LogisticRegression().fit(ROWS, target > 2)
save("ranker", ranker)
save("clicks", clicks)

probe = ROWS[ROWS[:, 1] == 2]  # candidates 0 to 19, history of two
pathlib.Path("expected.json").write_text(
    json.dumps({"ranker": ranker.predict(probe).tolist(), "clicks": clicks.predict_proba(probe)[:, 1].tolist()})
)
