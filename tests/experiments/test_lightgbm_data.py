"""Data sets: from a local folder and from OpenML's cache, prepared once, refused when altered."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.lightgbm_study import folder, openml_tasks
from experiments.lightgbm_study.data import DataError, load, prepared_root
from tests.experiments.toy_data import toy_frame


def redescribe(data_dir: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = data_dir / "datasets.json"
    described = json.loads(path.read_text())
    change(described["datasets"])
    path.write_text(json.dumps(described))


def test_a_local_data_set_becomes_numbers_codes_and_stratified_folds(data_dir: Path) -> None:
    data = load(folder.find(data_dir, "toy"))
    frame = toy_frame()
    assert data.categorical == (1,)
    assert np.flatnonzero(np.isnan(data.X[:, 0])).tolist() == [3, 5]
    assert np.flatnonzero(np.isnan(data.X[:, 1])).tolist() == [7]
    # The word None is a category, not a missing value.
    assert data.X[frame["colour"] == "None", 1].tolist() == [2.0] * int(
        (frame["colour"] == "None").sum()
    )
    assert data.y.tolist() == (frame["answer"] == "yes").astype(int).tolist()
    shares = [data.y[data.test_fold == fold].mean() for fold in range(data.n_folds)]
    assert data.n_folds == 10
    assert np.ptp(shares) <= 1 / 19
    assert (np.bincount(data.test_fold) >= 19).all()


def test_prepared_data_are_mapped_read_only_and_need_their_source_no_more(data_dir: Path) -> None:
    source = folder.find(data_dir, "toy")
    first = load(source)
    (data_dir / "toy.csv.gz").unlink()
    again = load(source)
    assert isinstance(again.X, np.memmap)
    assert not again.X.flags.writeable
    np.testing.assert_array_equal(first.X, again.X)
    assert len(list(prepared_root().iterdir())) == 1


def test_a_missing_data_set_is_refused_with_what_is_there(data_dir: Path) -> None:
    with pytest.raises(DataError, match=r"airlines is not in .* has toy \(a toy\)"):
        folder.find(data_dir, "airlines")
    with pytest.raises(DataError, match=r"must have a datasets\.json"):
        folder.find(data_dir / "nothing", "toy")
    (data_dir / "toy.csv.gz").unlink()
    with pytest.raises(DataError, match=r"toy\.csv\.gz is missing"):
        folder.find(data_dir, "toy")


def test_an_altered_file_is_refused(data_dir: Path) -> None:
    redescribe(data_dir, lambda sets: sets["toy"].update(sha256="0" * 64))
    with pytest.raises(DataError, match="must have the SHA-256 0000"):
        folder.find(data_dir, "toy")


def test_another_file_under_a_known_name_is_refused(data_dir: Path) -> None:
    redescribe(data_dir, lambda sets: sets.update({"credit-g": sets["toy"]}))
    with pytest.raises(DataError, match="give it a name of its own"):
        folder.find(data_dir, "credit-g")


def test_what_contradicts_its_description_is_refused(data_dir: Path) -> None:
    redescribe(data_dir, lambda sets: sets["toy"].update(rows=7))
    with pytest.raises(DataError, match="must have 7 rows, found 200"):
        load(folder.find(data_dir, "toy"))
    redescribe(data_dir, lambda sets: sets["toy"].update(rows=200, levels={"colour": ["red"]}))
    with pytest.raises(DataError, match="colour has the values"):
        load(folder.find(data_dir, "toy"))


def test_a_description_that_lacks_something_is_refused_with_what_it_must_have(
    data_dir: Path,
) -> None:
    path = data_dir / "datasets.json"
    complete = json.loads(path.read_text())["datasets"]["toy"]
    for name in ("file", "rows", "target", "target_levels", "categorical"):
        toy = {key: value for key, value in complete.items() if key != name}
        path.write_text(json.dumps({"datasets": {"toy": toy}}))
        with pytest.raises(DataError, match=f"must give file, .* of toy, without {name}"):
            folder.find(data_dir, "toy")
    for text in (json.dumps({"toy": complete}), '{"datasets": ["toy"]}', "[]"):
        path.write_text(text)
        with pytest.raises(DataError, match="must have a mapping 'datasets' of names"):
            folder.find(data_dir, "toy")
    path.write_text('{"datasets": ')
    with pytest.raises(DataError, match="must be JSON"):
        folder.find(data_dir, "toy")


@pytest.mark.parametrize("changed", [{"target": "reply"}, {"categorical": ["colour", "reply"]}])
def test_a_column_that_is_not_in_the_file_is_refused(
    data_dir: Path, changed: dict[str, Any]
) -> None:
    redescribe(data_dir, lambda sets: sets["toy"].update(changed))
    with pytest.raises(DataError, match=r"without \['reply'\] among its \['size', "):
        load(folder.find(data_dir, "toy"))


def test_a_target_with_three_classes_is_refused(data_dir: Path) -> None:
    frame = toy_frame()
    frame.loc[0, "answer"] = "perhaps"
    frame.to_csv(data_dir / "toy.csv.gz", index=False)
    with pytest.raises(DataError, match="two classes, found 3"):
        load(folder.find(data_dir, "toy"))


# -- OpenML: files as its own cache has them ------------------------------------------------------

TASK_XML = """<oml:task xmlns:oml="http://openml.org/openml">
<oml:task_id>31</oml:task_id><oml:task_type_id>1</oml:task_type_id>
<oml:task_type>Supervised Classification</oml:task_type>
<oml:input name="source_data"><oml:data_set><oml:data_set_id>31</oml:data_set_id>
<oml:target_feature>answer</oml:target_feature></oml:data_set></oml:input>
<oml:input name="estimation_procedure"><oml:estimation_procedure><oml:id>1</oml:id>
<oml:type>crossvalidation</oml:type>
<oml:data_splits_url>https://example.org/splits.arff</oml:data_splits_url>
<oml:parameter name="number_repeats">1</oml:parameter>
<oml:parameter name="number_folds">{n_folds}</oml:parameter>
</oml:estimation_procedure></oml:input></oml:task>"""

DESCRIPTION_XML = """<oml:data_set_description xmlns:oml="http://openml.org/openml">
<oml:id>31</oml:id><oml:name>credit-g</oml:name><oml:version>1</oml:version>
<oml:description>a toy</oml:description><oml:format>ARFF</oml:format>
<oml:url>https://example.org/toy.arff</oml:url>
<oml:ignore_attribute>row</oml:ignore_attribute>
<oml:default_target_attribute>answer</oml:default_target_attribute>
</oml:data_set_description>"""

COLUMNS = {
    "row": "NUMERIC",
    "size": "NUMERIC",
    "colour": "{red,green,None}",
    "flag": "{TRUE,FALSE}",
    "answer": "{yes,no}",
}


def write_cache(root: Path, n_folds: int = 5, n_split: int = 200) -> None:
    """Write the files of task 31 as the `openml` package keeps them, with toy data."""
    task, data = (root / "org" / "openml" / "www" / kind / "31" for kind in ("tasks", "datasets"))
    task.mkdir(parents=True)
    data.mkdir(parents=True)
    (task / "task.xml").write_text(TASK_XML.format(n_folds=n_folds))
    lines = [
        f"{'TEST' if i % n_folds == fold else 'TRAIN'},{i},0,{fold}"
        for fold in range(n_folds)
        for i in range(n_split)
    ]
    header = "@RELATION splits\n@ATTRIBUTE type {TRAIN,TEST}\n@ATTRIBUTE rowid NUMERIC\n"
    header += "@ATTRIBUTE repeat NUMERIC\n@ATTRIBUTE fold NUMERIC\n@DATA\n"
    (task / "datasplits.arff").write_text(header + "\n".join(lines))
    (data / "description.xml").write_text(DESCRIPTION_XML)
    features = "".join(
        f"<oml:feature><oml:index>{i}</oml:index><oml:name>{name}</oml:name><oml:data_type>"
        + ("numeric" if kind == "NUMERIC" else "nominal")
        + "</oml:data_type>"
        + "".join(
            f"<oml:nominal_value>{level}</oml:nominal_value>"
            for level in kind.strip("{}").split(",")
            if kind != "NUMERIC"
        )
        + "</oml:feature>"
        for i, (name, kind) in enumerate(COLUMNS.items())
    )
    (data / "features.xml").write_text(
        f'<oml:data_features xmlns:oml="http://openml.org/openml">{features}</oml:data_features>'
    )
    frame = toy_frame().replace("", "?")
    rows = [
        f"{i},{row['size']},{row['colour']},{'TRUE' if i % 3 else 'FALSE'},{row['answer']}"
        for i, row in frame.iterrows()
    ]
    arff = "@RELATION toy\n" + "".join(f"@ATTRIBUTE {n} {k}\n" for n, k in COLUMNS.items())
    (data / "dataset.arff").write_text(arff + "@DATA\n" + "\n".join(rows) + "\n")


@pytest.fixture
def openml_cache(tmp_path: Path) -> Path:
    """An OpenML cache with task 31."""
    root = tmp_path / "openml"
    write_cache(root)
    return root


def test_an_openml_task_is_read_from_its_cache_with_its_own_features_and_folds(
    openml_cache: Path, data_dir: Path
) -> None:
    data = load(openml_tasks.find("credit-g", openml_cache))
    local = load(folder.find(data_dir, "toy"))
    # The ignored column is no feature.
    assert data.X.shape == (200, 3)
    assert data.categorical == (1, 2)
    np.testing.assert_array_equal(data.X[:, 0], local.X[:, 0])
    np.testing.assert_array_equal(data.X[:, 1], local.X[:, 1])
    assert data.X[:6, 2].tolist() == [data.X[0, 2], *[data.X[1, 2]] * 2] * 2
    assert data.y.tolist() == local.y.tolist()
    assert data.test_fold.tolist() == [i % 5 for i in range(200)]


def test_a_task_that_is_not_in_the_cache_is_refused_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"download --dataset credit-g"):
        openml_tasks.find("credit-g", tmp_path)
    with pytest.raises(DataError, match="'toy' is none of the benchmark's OpenML data sets"):
        openml_tasks.find("toy", tmp_path)


def test_splits_that_leave_rows_out_are_refused(tmp_path: Path) -> None:
    write_cache(tmp_path, n_split=150)
    with pytest.raises(DataError, match="50 rows in no test part"):
        load(openml_tasks.find("credit-g", tmp_path))


def test_downloading_asks_no_server_for_what_is_there(
    openml_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("no way out")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = openml_tasks.find("credit-g", openml_cache)
    assert openml_tasks.download("credit-g", openml_cache) == found
