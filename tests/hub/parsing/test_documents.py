"""Documents as people hand them in: what is read, and what the refusal says of each file that can't be read."""

import io
import os
import time

import pytest

from composition.chunking import cut
from hub.errors import Invalid
from hub.services.parsing import documents
from hub.services.parsing.documents import read_document, read_documents


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text a page; an empty one is drawn without."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=300, height=300)
        if text:
            font = DictionaryObject(
                {
                    NameObject("/Type"): NameObject("/Font"),
                    NameObject("/Subtype"): NameObject("/Type1"),
                    NameObject("/BaseFont"): NameObject("/Helvetica"),
                }
            )
            fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
            stream = DecodedStreamObject()
            stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
            page[NameObject("/Contents")] = writer._add_object(stream)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def locked() -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("Secret"))))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_plain_text_is_kept_letter_for_letter_but_its_line_ends():
    found = read_document("a/b/notes.md", "\ufeffStraße\r\n日本\rend".encode())
    assert (found.name, found.text, found.pages) == ("notes.md", "Straße\n日本\nend", None)
    assert found.facts() == {"characters": 13, "tokens_about": 5}


def test_a_pdf_gives_its_text_page_by_page():
    found = read_document("x.pdf", pdf("Pump two is red", "It rests on Sundays"))
    assert (found.text, found.pages) == ("Pump two is red\n\nIt rests on Sundays", 2)


@pytest.mark.parametrize(
    ("data", "code", "say"),
    [
        (b"", "empty", "is empty"),
        (b" \n\t", "empty", "is empty"),
        (b"a\0b", "binary", "a binary file"),
        (b"PK\x03\x04rest", "binary", "Word or OpenDocument"),
        (b"\x89PNG\r\n", "binary", "a picture"),
        ("Straße".encode("latin-1"), "encoding", "byte 4 is 0xdf"),
        ("a text".encode("utf-16"), "encoding", "UTF-16"),
        (b"%PDF-1.7 rubbish", "pdf", "damaged"),
        (pdf(""), "scan", "1 page and no text"),
        (locked(), "pdf", "password"),
        (b"a" * 4_000_001, "too_large", "4,000,000"),
        (b"a" * 20_000_001, "too_large", "20,000,000"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_text_says_what_it_is(data, code, say):
    with pytest.raises(Invalid, match=say) as refusal:
        read_document("file", data)
    assert refusal.value.code == f"document.{code}"
    assert refusal.value.facts["file"] == "file"


@pytest.mark.parametrize(("mode", "window"), [("parallel", 4), ("sequential", 7), ("parallel", 1024), ("concat", 4)])
def test_the_preview_cuts_where_the_worker_cuts(mode, window):
    found = read_document("x.txt", b"abcd" * 90)
    parts = cut(found.tokens, mode, window)
    assert [len(chunk) for chunk in found.chunks(mode, window)] == [4 * (end - begin) for begin, end in parts]
    assert "".join(found.chunks(mode, window)) == found.text


def test_chunks_of_letters_of_many_bytes_hold_every_letter_once():
    found = read_document("x.txt", "日本🙂é a".encode() * 50)
    assert "".join(found.chunks("parallel", 3)) == found.text
    assert "" not in found.chunks("parallel", 3)


def test_names_can_hold_no_path_and_no_markup():
    assert read_document("..\\..\\<b>.txt", b"a").name == "_b_.txt"
    assert read_document("///", b"a").name == "text.txt"


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Give the PDF reader's process other code to run."""

    def replaced(code: str) -> None:
        (tmp_path / "child.py").write_text(code)
        monkeypatch.setattr(documents, "CHILD", tmp_path / "child.py")

    return replaced


def test_a_pdf_that_takes_too_long_is_killed_and_says_the_limit(child, monkeypatch, tmp_path):
    monkeypatch.setattr(documents, "MOST_SECONDS", 3.0)
    pid = tmp_path / "pid"
    child(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(Invalid, match=r"slow.pdf \([\d,]+ bytes\) can't be read within 3 seconds") as refusal:
        read_document("slow.pdf", pdf("a"), seconds=3.0)
    assert refusal.value.code == "document.too_slow"
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_pdfs_of_one_request_share_the_time(monkeypatch):
    allowed = []

    def slow(name, data, seconds):
        allowed.append(seconds)
        time.sleep(0.1)
        return {"pages": 1, "text": "a"}

    monkeypatch.setattr(documents, "_read_pdf", slow)
    assert len(list(read_documents((name, pdf("a")) for name in ("a.pdf", "b.pdf")))) == 2
    assert allowed[0] == documents.MOST_SECONDS
    assert allowed[1] <= documents.MOST_SECONDS - 0.1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "damaged"),
        ("raise ImportError", "damaged"),
        ("""print('{"refused": "memory"}')""", "more than 1,024 MiB of memory"),
    ],
)
def test_a_reader_that_breaks_is_a_refusal(child, code, said):
    child(code)
    with pytest.raises(Invalid, match=said):
        read_document("x.pdf", pdf("a"))


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("MOST_PAGES", 1, "2 pages; at most 1"), ("MOST_TEXT", 6, "more than 6 characters.* page 2 of 2")],
)
def test_a_pdf_has_a_bound_of_pages_and_characters(monkeypatch, limit, value, said):
    monkeypatch.setattr(documents, limit, value)
    with pytest.raises(Invalid, match=said):
        read_document("x.pdf", pdf("abcd", "efgh"))


def test_the_readers_process_sees_nothing_of_ours(child, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    child("import json, os; print(json.dumps({'pages': 1, 'text': ' '.join(sorted(os.environ)) or 'none'}))")
    assert "DATABASE_URL" not in read_document("x.pdf", pdf("a")).text
