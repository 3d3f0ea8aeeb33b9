"""GenerativeAdapter (arXiv:2411.05877): a generator trained once for a base turns a text into a LoRA in one pass.

    generator = load_generator(folder)                  # torch-free check: formats.generator.files
    result = generate(base, tokenizer, generator, text, GenerateRecipe())    # GenerateResult(weights, state, report)
    save_peft(result.weights, out)                                   # an ordinary PEFT LoRA

    both = result.state + generate(…, other_text, …).state           # what both texts left; `-` subtracts one again
    adapter_of(generator, both, base)                                # their adapter, without reading either again
    generate(…, third_text, …, onto=both)                            # adds a text to a kept state
    result.state.save(path); State.load(path)

    generator = train_generator(base, tokenizer, TrainGeneratorRecipe(), documents, base_model=id, work=folder)
    save_generator(generator, folder)                                # a killed training resumes from `work`
    train_generator(…, TrainGeneratorRecipe(stage="questions"), rows, start=generator, …)

A job of kind `generate` needs one generator and a text, `recipe.check_text(text)` needs neither base nor torch. A job
of kind `train-generator` needs a base and data: any sequence of texts (`segments.Documents` reads JSONL from the disk)
or of rows {"context", "question", "answer"}. Both report through `progress` and are stopped by raising from it.

    encode     reading a text, four modes        layer       the generator's mathematics, and the fold to a LoRA
    state      what adds up                      normalise   the truncated polar factor and its derivative
    hooks      how a base is read and adapted    segments, questions    what is learnt from
    train, measure         learning, and the gap closed
    replicated             the same training on several devices

Where a text is cut is decided in `composition.chunking`, free of torch, for the preview on the page.
"""

from composition.generative.files import load_generator, save_generator
from composition.generative.generate import GenerateResult, adapter_of, generate
from composition.generative.layer import Generator
from composition.generative.state import State
from composition.generative.train import train_generator

__all__ = [
    "GenerateResult",
    "Generator",
    "State",
    "adapter_of",
    "generate",
    "load_generator",
    "save_generator",
    "train_generator",
]
