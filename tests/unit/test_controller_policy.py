import pytest

from oomsayer.api.policy import OOMPolicySpec
from oomsayer.controller.policy import SILENT, Policies, policies, read_policy


def spec(percent: int = 10, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> OOMPolicySpec:
    return OOMPolicySpec.model_validate(
        {
            "namespaces": {"include": include, "exclude": exclude},
            "thresholds": {"podHeadroomPercent": percent, "nodeHeadroomPercent": percent + 1},
        }
    )


def test_without_a_policy_the_defaults_hold() -> None:
    rules = Policies().for_pod("shop")
    assert (rules.headroom_percent, rules.clear_percent, rules.events, rules.annotations) == (
        10,
        5,
        True,
        True,
    )
    assert Policies().for_node().headroom_percent == 5


def test_a_policy_that_names_the_namespace_beats_one_for_all() -> None:
    book = policies({"a": spec(20), "b": spec(30, include=("shop",))})
    assert book.for_pod("shop").headroom_percent == 30
    assert book.for_pod("other").headroom_percent == 20
    assert book.for_node().headroom_percent == 21


def test_ties_go_by_name() -> None:
    book = policies(
        {"z": spec(20), "b": spec(30), "y": spec(40, include=("shop",)), "x": spec(50, ("shop",))}
    )
    assert book.for_pod("other").headroom_percent == 30
    assert book.for_pod("shop").headroom_percent == 50


def test_an_excluded_namespace_is_silent_unless_another_policy_names_it() -> None:
    book = policies({"all": spec(20, exclude=("kube-system", "shop")), "shop": spec(7, include=("shop",))})
    assert book.for_pod("kube-system") == SILENT
    assert book.for_pod("shop").headroom_percent == 7


def test_a_namespace_that_an_older_schema_let_stand_in_both_lists_is_excluded() -> None:
    book = policies({"both": spec(7, include=("shop",), exclude=("shop",))})
    assert book.for_pod("shop") == Policies().for_pod("shop")


def test_a_policy_for_one_namespace_leaves_the_others_to_the_defaults() -> None:
    book = policies({"shop": spec(7, include=("shop",))})
    assert book.for_pod("other").headroom_percent == 10
    assert book.for_node().headroom_percent == 5


def test_a_policy_that_does_not_validate_is_refused_by_field() -> None:
    obj = {"metadata": {"name": "p"}, "spec": {"thresholds": {"podHeadroomPercent": 200}}}
    with pytest.raises(ValueError, match=r"spec\.thresholds\.podHeadroomPercent: "):
        read_policy(obj)
