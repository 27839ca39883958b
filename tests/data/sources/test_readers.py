"""Local files of every format: the same rows come out, and what is wrong is named."""

import bz2
import csv
import gzip
import json
import lzma
import re
import shlex
import subprocess
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.sources import workbooks
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
        ("a.json", b"[1,", "is not valid JSON"),
        ("a.csv", b"completion\ncaf\xe9\n", "is not UTF-8 at byte 14"),
        ("a.csv", b"completion,completion\na,b\n", "names the column 'completion' twice"),
        ("a.parquet", b"PAR1 no", "is not a Parquet file"),
        ("a.jsonl.gz", b"\x1f\x8bno gzip", "is not a complete gzip file"),
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
    first = {"completion": "a", "day": day, "score": float("nan"), "image": None, "price": Decimal("0.10")}
    rows = [first, {"completion": "b", "image": b"x"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    good, bad = read_file(path)
    assert isinstance(good, Record)
    assert good.value.pop("price") == "0.10"
    assert good.value == {"completion": "a", "day": "2024-05-17T08:30:00+00:00", "score": None, "image": None}
    assert str(bad).startswith(f"{path} row 2: field 'image' holds bytes, which JSON does not know. Leave the column")


UMLAUTS = [
    {"prompt": "Wie \u00f6ffne ich das Fenster?", "completion": "Drehen Sie den Griff; dann ziehen."},
    {"prompt": "Was kostet das?", "completion": "Zw\u00f6lf Euro, bitte."},
]


def table(delimiter: str) -> str:
    lines = [["prompt", "completion"], *([f'"{part}"' for part in row.values()] for row in UMLAUTS)]
    return "".join(delimiter.join(line) + "\r\n" for line in lines)


@pytest.mark.parametrize(
    "content",
    [
        table(",").encode("utf-8-sig"),
        table(";").encode("utf-8-sig"),
        ("sep=;\r\n" + table(";")).encode("utf-8-sig"),
        table("\t").encode("utf-16"),
        table("|").encode(),
    ],
)
def test_case_06_tables_of_excel_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert values(path) == UMLAUTS


def test_case_06_a_table_in_windows_encoding_names_a_command_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(table(",").encode("cp1252"))
    with pytest.raises(UserError, match=r"reads .*Wie \u00f6ffne ich") as caught:
        list(read_file(path))
    command = str(caught.value).partition("convert the file: ")[2]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert values(tmp_path / "a-utf8.csv") == UMLAUTS


TWO = [{"prompt": "a?", "completion": "One."}, {"prompt": "b?", "completion": "Two."}]
LINES = "".join(json.dumps(row) + "\n" for row in TWO)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lines.json", LINES),
        ("rows.jsonl", json.dumps(TWO)),
        ("rows.jsonl", json.dumps(TWO, indent=1)),
        ("pretty.jsonl", "\n".join(json.dumps(row, indent=2) for row in TWO)),
        ("columns.json", json.dumps({name: {str(n): row[name] for n, row in enumerate(TWO)} for name in TWO[0]})),
        ("columns.json", json.dumps({name: [row[name] for row in TWO] for name in TWO[0]})),
        ("index.json", json.dumps(dict(enumerate(TWO)))),
        ("split.json", json.dumps({"columns": list(TWO[0]), "data": [list(row.values()) for row in TWO]})),
        ("named.json", json.dumps({"first": TWO[0], "second": TWO[1]})),
        ("wrapped.json", json.dumps({"version": "1.0", "data": TWO})),
        ("data.ndjson", LINES),
    ],
)
def test_case_36_json_is_read_as_what_it_holds(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert values(tmp_path / name) == TWO
    (tmp_path / name).write_bytes(text.encode("utf-16"))  # as PowerShell redirects it
    assert values(tmp_path / name) == TWO


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.bz2", bz2.compress), ("a.jsonl.xz", lzma.compress)])
def test_case_38_compressed_files_are_read_whatever_their_name(tmp_path: Path, name: str, pack: Any) -> None:
    for path in (tmp_path / name, tmp_path / "a.jsonl"):
        path.write_bytes(pack(LINES.encode()))
        assert values(path) == TWO


def test_case_38_zstd_is_read_and_a_cut_file_is_named(tmp_path: Path) -> None:
    import pyarrow

    path = tmp_path / "a.jsonl.zst"
    content = pyarrow.compress(LINES.encode(), codec="zstd", asbytes=True)
    path.write_bytes(content)
    assert values(path) == TWO
    for broken, pack in (("b.bz2", bz2.compress), ("b.xz", lzma.compress)):
        (tmp_path / broken).write_bytes(pack(LINES.encode())[:-9])
        with pytest.raises(UserError, match="is not a complete"):
            list(read_file(tmp_path / broken))


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("a.xlsx", ["xl/workbook.xml", "xl/worksheets/sheet1.xml"], "an Excel workbook. Save its sheet as CSV UTF-8"),
        ("a.csv", ["xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml"], "2 sheets, so save each"),
        ("a.docx", ["word/document.xml"], "a Word document"),
        ("a.zip", ["rows.jsonl"], "a zip archive of rows.jsonl. Unpack it"),
    ],
)
def test_case_38_an_office_file_or_archive_is_named_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, members: list[str], message: str
) -> None:
    monkeypatch.setattr(workbooks, "find_spec", lambda _name: None)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member in members:
            archive.writestr(member, "x")
    with pytest.raises(UserError, match=message):
        list(read_file(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid x\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_a_file_that_only_has_the_name_of_data_is_named_as_what_it_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_file(tmp_path / "a.jsonl"))


def downloaded(folder: Path, *names: str) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("# A card")
    (folder / ".git" / "note.md").write_text("no")
    for number, name in enumerate(names):
        write(folder / "data" / name, [{"completion": f"row {number}"}])
    return folder


def test_case_07_a_downloaded_data_set_is_its_shards_and_not_its_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards = [f"train-0000{number}-of-00002.parquet" for number in range(2)]
    folder = downloaded(tmp_path / "set", *shards, "test-00000-of-00001.parquet")
    with caplog.at_level("INFO"):
        assert values(folder) == [{"completion": "row 0"}, {"completion": "row 1"}]
    assert "passed over: README.md, data/test-00000-of-00001.parquet" in caplog.text
    assert values(folder, split="test") == [{"completion": "row 2"}]
    with pytest.raises(UserError, match="no split 'dev'"):
        list(read_file(folder, split="dev"))
    (folder / "data" / shards[1]).unlink()
    with pytest.raises(UserError, match="holds 1 of 2 shards"):
        list(read_file(folder))


def test_case_07_texts_are_read_through_links_and_rows_beside_them_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, other = tmp_path / "texts", tmp_path / "other"
    (folder / "node_modules").mkdir(parents=True)
    other.mkdir()
    (other / "b.md").write_text("linked")
    (folder / "loop").symlink_to(folder)
    (folder / "linked").symlink_to(other)
    (folder / "a.md").write_text("\n\n  indented  \r\nend \n\n")
    (folder / "node_modules" / "readme.md").write_text("no")
    (folder / "rows.jsonl").write_text(LINES)
    with caplog.at_level("INFO"):
        assert [value["completion"] for value in values(folder)] == ["  indented  \r\nend ", "linked"]
    assert f"passed over: rows.jsonl. To read one: rt data prepare {folder / 'rows.jsonl'}" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"), [("a.parquet", "USAGE.md"), ("train.jsonl", "notes.txt"), ("b.ndjson", "dataset_card.md")]
)
def test_case_07_a_data_set_is_its_rows_whatever_text_lies_beside_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / text).write_text("Read me.")
    (tmp_path / "a.avro").write_bytes(b"Obj\x01")
    write(tmp_path / "rows.parquet", TWO) if name.endswith("parquet") else (tmp_path / name).write_text(LINES)
    assert values(tmp_path) == TWO


def test_case_07_the_way_to_read_what_is_passed_over_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.avro", "notes.md", "train.jsonl", "test of it.jsonl"):
        (tmp_path / name).write_text(LINES)
    with caplog.at_level("INFO"):
        assert values(tmp_path) == TWO
    _, _, typed = caplog.messages[-1].partition("To read one: ")
    assert shlex.split(typed) == ["rt", "data", "prepare", str(tmp_path / "test of it.jsonl")]
    for path in tmp_path.glob("*[!o]"):
        path.unlink()
    caplog.clear()
    with pytest.raises(UserError, match="no files of rows"):
        list(read_file(tmp_path))
    assert "To read one" not in caplog.text


def test_case_bad_bytes_in_parquet_are_a_bad_row(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.array([b"good", b"\xff\xfe"], pyarrow.binary()).cast(pyarrow.string(), safe=False)
    parquet.write_table(pyarrow.table({"completion": text}), tmp_path / "a.parquet")
    good, bad = read_file(tmp_path / "a.parquet")
    assert isinstance(good, Record)
    assert "row 2: holds text that is not UTF-8" in str(bad)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.tar.gz",
            gzip.compress(b"x".ljust(257, b"\0") + b"ustar".ljust(300), mtime=0),
            "a tar archive. Unpack it",
        ),
        ("a.gz.gz", gzip.compress(gzip.compress(LINES.encode(), mtime=0), mtime=0), "compressed twice. Unpack it once"),
        ("a.xz", lzma.compress(b"%PDF-1.7"), "a PDF. Save its text"),
        ("a.jsonl", LINES.encode("utf-16-le"), "UTF-16LE, not UTF-8. Convert it: iconv -f UTF-16LE"),
        ("a.csv", LINES.encode("utf-16-be"), "UTF-16BE, not UTF-8"),
        ("a.json", LINES.encode("utf-32"), "UTF-32, not UTF-8"),
        ("a.txt", b"{\\rtf1 hello}", "a document in Rich Text Format"),
        ("a.jsonl.br", b"\x8b\x02\x80{}\xff\x03", "a binary file of an unknown format"),
        ("a.jsonl.Z", b"\x1f\x9d\x90abc", "compressed with compress. Unpack it (gzip -d)"),
        ("a.yaml", b"- completion: a\n", "a YAML file, which is not read. Write its rows as JSONL or CSV"),
        ("a.bin", bytes(range(128, 256)) * 2 + b"\0\1", "a binary file of an unknown format"),
    ],
)
def test_case_38_what_compression_and_encoding_hide_is_named_too(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(message)):
        list(read_file(tmp_path / name))


def test_a_text_may_hold_a_zero_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("T\u00e4ter \0 und so weiter".encode())
    (row,) = read_file(tmp_path / "a.txt")
    assert isinstance(row, Record) and row.value["completion"] == "T\u00e4ter \0 und so weiter"


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a", "a.csv", "a.feather"])
def test_case_07_a_typed_table_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    table = pyarrow.table({"prompt": ["q"], "completion": ["a"]})
    write = feather.write_feather if name.endswith("feather") else parquet.write_table
    write(table, tmp_path / name)
    assert values(tmp_path / name) == [{"prompt": "q", "completion": "a"}]


def test_case_06_names_of_columns_have_no_spaces_around_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt , completion\nq , a\n")
    assert values(tmp_path / "a.csv") == [{"prompt": "q ", "completion": " a"}]


@pytest.mark.parametrize("damaged", [b"\xfd7zXZ\x00\n{}\n{}", b"\x1f\x8b\x08\n{}", b"BZh9\n{}"])
def test_a_damaged_compressed_file_is_one_message(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="is not a complete"):
        list(read_file(path))
