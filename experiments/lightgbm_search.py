"""How does one tune LightGBM with RushSearchCV?

    python -m experiments.lightgbm_search --n-iter 60 --n-jobs 4

Searches a classifier's parameters by five-fold cross-validation on the breast cancer data that come
with scikit-learn, and prints the best ones and their accuracy on a held-out quarter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lightgbm import LGBMClassifier
from scipy.stats import randint
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from rush_opt import Float
from rush_opt.sklearn import RushSearchCV

SPACE = {
    "learning_rate": Float(1e-2, 0.5, log=True),
    "num_leaves": randint(4, 64),
    "min_child_samples": [1, 5, 10, 20, 50],
    "boosting_type": ["gbdt", "dart"],
    "reg_lambda": Float(1e-3, 10.0, log=True),
}


def main(arguments: Sequence[str] | None = None) -> RushSearchCV:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-iter", type=int, default=60, help="settings to try")
    parser.add_argument("--n-jobs", type=int, default=-1, help="worker processes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    search = RushSearchCV(
        LGBMClassifier(n_estimators=50, n_jobs=1, verbose=-1),
        SPACE,
        n_iter=args.n_iter,
        n_jobs=args.n_jobs,
        random_state=args.seed,
        scoring=["neg_log_loss", "accuracy"],
        refit="neg_log_loss",
        verbose=1,
    )
    search.fit(X_train, y_train)
    print(search.best_params_)
    print(f"log loss, cross-validated: {-search.best_score_:.4f}")
    print(f"log loss, held out: {-search.score(X_test, y_test):.4f}")
    print(f"accuracy, held out: {(search.predict(X_test) == y_test).mean():.4f}")
    return search


if __name__ == "__main__":
    main()
