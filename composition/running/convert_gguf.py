"""`python -m composition.running.convert_gguf FILE.gguf NEW_FOLDER`: a GGUF model as an fp32 safetensors folder."""

import argparse
import sys

from composition.errors import CompositionError
from composition.running.base_models import convert_gguf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", help="the .gguf file of an architecture that transformers reads")
    parser.add_argument("folder", help="the folder to write; one that holds a finished conversion is left as it is")
    parser.add_argument("--base-id", help="the name that the saved config carries, such as org/name")
    given = parser.parse_args()
    try:
        print(convert_gguf(given.gguf, given.folder, base_id=given.base_id))
    except CompositionError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
