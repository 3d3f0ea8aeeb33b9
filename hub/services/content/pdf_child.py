"""A process of its own that reads one PDF: what a hostile file does to the reader never holds a web thread.

`python -I pdf_child.py PAGES CHARACTERS SECONDS BYTES < in.pdf` writes {"pages", "text"}, or {"refused": why, …}. It
bounds its own processor time and memory; its parent kills it when the wall clock is over.
"""

import contextlib
import io
import json
import os
import resource
import sys


def main(most_pages: int, most_characters: int, seconds: int, memory: int) -> dict:
    """The text of the PDF on standard input. A broken file may raise anything: all of it is a refusal."""
    os.nice(10)
    for limit, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        with contextlib.suppress(OSError, ValueError):  # a system that doesn't bound this
            resource.setrlimit(limit, (value, value))
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
    json.dump(main(*map(int, sys.argv[1:5])), sys.stdout)
