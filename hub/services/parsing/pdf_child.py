"""Reads one PDF: `pdf_child.py PAGES CHARACTERS < in.pdf` prints {"pages", "text"}, or {"refused": why, …}."""

import io
import json
import sys


def main(most_pages: int, most_characters: int) -> dict:
    """The text of the PDF on standard input. A broken file may raise anything: all of it is a refusal."""
    try:
        from pypdf import PdfReader

        reader = PdfReader(io.BytesIO(sys.stdin.buffer.read()))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"refused": "locked"}
        count = len(reader.pages)
    except MemoryError:
        return {"refused": "memory"}
    except Exception as error:
        return {"refused": "damaged", "error": repr(error)}
    if count > most_pages:
        return {"refused": "pages", "pages": count}
    parts: list[str] = []
    length = 0
    for number in range(count):
        try:
            parts.append(reader.pages[number].extract_text())
        except MemoryError:
            return {"refused": "memory"}
        except Exception as error:
            return {"refused": "page", "page": number + 1, "error": repr(error)}
        length += len(parts[-1])
        if length > most_characters:
            return {"refused": "characters", "page": number + 1, "pages": count}
    text = "\n\n".join(part.strip() for part in parts if part.strip()).replace("\0", "")
    return {"pages": count, "text": text}


if __name__ == "__main__":
    json.dump(main(*map(int, sys.argv[1:3])), sys.stdout)
