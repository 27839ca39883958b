"""Local files of every format: the same rows come out, and what is wrong is named."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.sources.readers import read_file
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record

ROWS = [
    {"prompt": 'Why, "exactly"?\nSay.', "completion": "Because.\r\nOf this: \u2028 that."},
    {"prompt": "Ok?", "completion": "caf\u00e9 \U0001f600, yes"},
]


def values(path: Path, **options: Any) -> list[Any]:
    records = list(read_file(path, **options))
    assert all(isinstance(record, Record) for record in records)
    return [record.value for record in records if isinstance(record, Record)]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_format_gives_the_same_rows_gzipped_or_not(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, ROWS)
    if zipped:
        content = path.read_bytes()
        path = tmp_path / f"rows{suffix}.gz"
        path.write_bytes(gzip.compress(content))
    assert values(path) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"completion": "a"}', "holds an object; it should be a list of rows"),
        ("a.json", b"[1,", "is not valid JSON"),
        ("a.csv", b"completion\ncaf\xe9\n", "is not UTF-8 at byte 14"),
        ("a.csv", b"completion,completion\na,b\n", "names the column 'completion' twice"),
        ("a.parquet", b"PAR1 no", "is not a Parquet file"),
        ("a.jsonl.gz", b"no gzip", "is not a complete gzip file"),
        ("a.csv.gz", gzip.compress(b"completion\n" + b"a\n" * 999, mtime=0)[:-9], "is not a complete gzip file"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_file(path))


def test_a_table_row_with_a_wrong_number_of_cells_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\n"two\nlines",a\nb\n\nc,d,e\nf,g\n')
    records = list(read_file(path))
    assert [str(record) for record in records if isinstance(record, BadRow)] == [
        f"{path}:4: has 1 cells where the header has 2",
        f"{path}:6: has 3 cells where the header has 2",
    ]
    good = [(record.number, record.value["completion"]) for record in records if isinstance(record, Record)]
    assert good == [(2, "a"), (7, "g")]


def test_an_empty_cell_is_a_field_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\n,a\n")
    assert values(path) == [{"completion": "a"}]


def test_a_folder_of_texts_gives_a_bare_response_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "b.txt").write_text("second\n")
    (tmp_path / "a.md").write_text("# First\n\ntext\n")
    (tmp_path / "inner" / "c.md").write_text("third")
    (tmp_path / "d.pdf").write_text("not read")
    (tmp_path / "empty.md").write_text(" \n")
    records = list(read_file(tmp_path))
    assert [record.value for record in records if isinstance(record, Record)] == [
        {"completion": "# First\n\ntext", "source": "a.md"},
        {"completion": "second", "source": "b.txt"},
        {"completion": "third", "source": "inner/c.md"},
    ]
    assert [str(record) for record in records if isinstance(record, BadRow)] == [
        f"{tmp_path / 'empty.md'}:1: holds no text"
    ]


def test_markdown_is_cut_before_headings_that_have_text_but_not_in_code(tmp_path: Path) -> None:
    path = tmp_path / "guide.md"
    path.write_text("Before.\n\n# Guide\n\n## Install\n\n```\n# not a heading\n```\n\n## Use\n\nCall it.\n#hashtag\n")
    assert [value["completion"] for value in values(path, split_at="headings")] == [
        "Before.",
        "# Guide\n\n## Install\n\n```\n# not a heading\n```",
        "## Use\n\nCall it.\n#hashtag",
    ]


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no \.md or \.txt files"):
        list(read_file(tmp_path))


def test_a_typed_table_becomes_json_values_and_what_json_has_nothing_for_is_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    day = datetime(2024, 5, 17, 8, 30, tzinfo=UTC)
    rows = [{"completion": "a", "day": day, "score": float("nan"), "image": None}, {"completion": "b", "image": b"x"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    good, bad = read_file(path)
    assert isinstance(good, Record)
    assert good.value == {"completion": "a", "day": "2024-05-17T08:30:00+00:00", "score": None, "image": None}
    assert str(bad) == f"{path} row 2: field 'image' holds bytes, which JSON does not know. Leave the column out."
