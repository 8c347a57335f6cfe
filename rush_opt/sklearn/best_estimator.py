"""The best estimator of a search: how it is fitted, and its methods that the search offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sklearn
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

__all__ = ["delegated", "has_method", "routed_to_fit", "with_params"]


def with_params(estimator: Any, params: Mapping[str, Any]) -> Any:
    """Return a new estimator with these parameters, which may be estimators themselves."""
    return clone(estimator).set_params(**clone(dict(params), safe=False))


def routed_to_fit(estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that the estimator's `fit` requests; without routing, all of them."""
    if not sklearn.get_config()["enable_metadata_routing"]:
        return params
    mapping = MethodMapping().add(caller="fit", callee="fit")
    router = MetadataRouter(owner="RushSearchCV").add(estimator=estimator, method_mapping=mapping)
    routed: dict[str, Any] = router.route_params(caller="fit", params=params).estimator.fit
    return routed


def has_method(name: str) -> Callable[[Any], bool]:
    """Make a check that a search has a best estimator with this method or attribute.

    The check takes a search and returns True. It raises an AttributeError if the search does not
    refit, or if its estimator lacks the name.
    """

    def check(search: Any) -> bool:
        if not search.refit:
            raise AttributeError(
                f"{name} needs the best estimator, but refit={search.refit!r}; set refit=True, or "
                "fit an estimator with best_params_ yourself"
            )
        getattr(getattr(search, "best_estimator_", search.estimator), name)
        return True

    return check


def delegated(name: str) -> Any:
    """Make a method of a search that calls the best estimator's method of the same name.

    The search has the method only if the estimator has it.
    """

    def method(self: Any, X: Any) -> Any:
        check_is_fitted(self)
        return getattr(self.best_estimator_, name)(X)

    method.__name__ = name
    method.__doc__ = f"Call `{name}` of the best estimator; see there."
    return available_if(has_method(name))(method)
