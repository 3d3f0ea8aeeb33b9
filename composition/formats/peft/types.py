"""peft's methods by name, and what each does to the base weight: why an adapter can't be merged from its files alone.

Only `ΔW = scale · B @ A` on an untouched base can be added, clustered or decomposed without the base. Everything here
that says otherwise is stored and served as it is; merges refuse it with `reason` and `do`. Measured on peft 0.21.2.
"""

PEFT_RELEASE = (0, 21)
"""The minor release of peft whose fields and methods are known here; a test compares it with the installed one."""

# The names of peft's `PeftType`; a test compares them with the installed peft.
PEFT_TYPES = frozenset(
    """
    ADALORA ADAMSS ADAPTION_PROMPT BEFT BOFT C3A CARTRIDGE CPT DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA
    IA3 LILY LN_TUNING LOHA LOKR LORA MISS MULTITASK_PROMPT_TUNING OFT OSF PEANUT POLY PREFIX_TUNING
    PROMPT_TUNING PSOFT PVERA P_TUNING RANDLORA ROAD SHADOW SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA
    VBLORA VERA WAVEFT XLORA
    """.split()
)

# Mixtures, which our own loader adds to peft, as their papers write them.
MIXTURES = {"METEORA": "MeteoRA", "SMORA": "SMoRA"}

# An X-LoRA config names other adapters by path, and loading it loads them.
REFUSED_TYPES = frozenset({"XLORA"})

TASK_TYPES = frozenset({"SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"})

INITIALISATIONS = frozenset({"gaussian", "eva", "orthogonal", "mica", "olora", "corda", "lora_ga", "loftq", "pissa"})

_CONVERT = (
    "Save it again on the machine that trained it with "
    "model.save_pretrained(folder, path_initial_model_for_weight_conversion=initial_folder), "
    "which turns it into a plain LoRA, and push that."
)
_FOLD = (
    "Merge it into its base with merge_and_unload() and extract a plain LoRA from the difference, "
    "or train it again as a plain LoRA."
)

NEEDS_BASE: dict[str, tuple[str, str]] = {
    "dora": ("DoRA rescales W + ΔW by a learnt magnitude, so its change depends on the base weight.", _FOLD),
    "pissa": ("PiSSA trained on the base minus its principal components, not on the base itself.", _CONVERT),
    "olora": ("OLoRA trained on the base minus its first factors, not on the base itself.", _CONVERT),
    "corda": ("CorDA trained on the base minus its context components, not on the base itself.", _CONVERT),
    "lora_ga": ("LoRA-GA trained on the base minus its gradient-aligned start, not on the base itself.", _CONVERT),
    "loftq": (
        "LoftQ trained on a quantised copy of the base and makes up for its rounding; it is wrong on any other base.",
        "Train it again as a plain LoRA on the base it is to be merged with.",
    ),
    "kasa": (
        "KaSA cuts the smallest singular values out of the base, and puts a diagonal between B and A.",
        "Train it again as a plain LoRA.",
    ),
    "modules_to_save": (
        "It carries whole layers trained together with the LoRA ({names}); whole layers can't be merged as factors.",
        "Train it again without modules_to_save, or merge only adapters that have none.",
    ),
    "bias": (
        "It changes the base's bias vectors (bias={names}), which are whole values, not LoRA factors.",
        'Train it again with bias="none".',
    ),
    "lora_bias": (
        "Its B carries a bias (lora_bias), which is not part of B @ A.",
        "Train it again with lora_bias=False.",
    ),
    "trainable_tokens": (
        "It replaces rows of the token embedding (trainable_token_indices).",
        "Train it again without trainable_token_indices.",
    ),
    "target_parameters": (
        "It adapts bare parameters such as fused experts ({names}), whose factors hold one block per expert.",
        "Target modules instead of parameters where the model allows it.",
    ),
    "alora": ("aLoRA acts only after its invocation tokens, so it has no single ΔW.", "Serve it as it is."),
    "qalora": ("QA-LoRA pools the inputs in groups, so A does not fit the base's inputs.", "Serve it as it is."),
    "bdlora": ("BD-LoRA stores block-diagonal factors.", "Serve it as it is."),
    "monteclora": ("MonteCLoRA samples its factors at random.", "Serve it as it is."),
    "arrow": ("Arrow routes between other adapters.", "Merge the adapters it routes between instead."),
    "layer_replication": (
        "It belongs to a copy of the base with repeated layers (layer_replication).",
        "Train it again without layer_replication.",
    ),
    "not_lora": (
        "It is a {names} adapter, not a LoRA: it has no A and B factors to merge.",
        "Convert it with peft's save_as_lora where peft can, and push the result.",
    ),
    "conv": (
        "It adapts convolutions ({names}), whose factors are not matrices.",
        "Train it again without convolutions among its target_modules.",
    ),
    "embedding": (
        "It adapts an embedding table ({names}), which may share its weight with the output layer.",
        "Train it again without embeddings among its target_modules.",
    ),
    "mixture": (
        "It is a {names} mixture, which chooses experts for every token.",
        "Take the adapters it was assembled from.",
    ),
    "unknown_fields": (
        "Its config holds {names}, unknown to this hub's release of peft: what its factors mean may have changed.",
        "Take the fields out of adapter_config.json if they change nothing, and push it again.",
    ),
    "full_weights": (
        "It carries whole layers besides the LoRA ({names}), as peft writes embeddings when the vocabulary was resized "
        "and as extraction tools write norms; whole layers can't be merged as factors.",
        "Save it again with save_embedding_layers=False if the vocabulary was not resized, or extract it again "
        "without the norms.",
    ),
}


def reason_for(code: str, names: str = "") -> dict[str, str]:
    """The {code, reason, do} entry of `AdapterFacts.needs_base`."""
    reason, do = NEEDS_BASE[code]
    return {"code": code, "reason": reason.replace("{names}", names), "do": do}
