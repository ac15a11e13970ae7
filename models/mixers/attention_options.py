"""Which options of attention can be, and which go together."""

from models.field_errors import suggest_divisors
from models.mixers.base import MAX_HEADS, MixerOptions
from models.ops.normalizers import NORMALIZERS
from models.ops.position_encodings import ADDITIVE_POSITIONS
from models.ops.similarity import SIMILARITIES

POSITION_INJECTIONS = ("embedding", "q", "k", "v", "qk", "qv", "kv", "qkv")
TIED_PROJECTIONS = ("", "qk", "qv", "kv", "qkv")
ATTENTION_IMPLEMENTATIONS = ("auto", "plain", "blocks", "cudnn")
_MAX_WINDOW = 2**24


def validate_attention(options: MixerOptions) -> None:
    """Raise ValueError for options of attention that can't be or don't go together."""
    hidden_size = options.hidden_size or options.model["width"]  # plain attention keeps its width
    options.check_heads(hidden_size)
    options.check_choice("similarity", SIMILARITIES)
    options.check_choice("normalizer", NORMALIZERS)
    options.check_choice("position_injection", POSITION_INJECTIONS)
    options.check_choice("implementation", ATTENTION_IMPLEMENTATIONS)
    if options["tied_projections"] not in TIED_PROJECTIONS:
        raise options.error("tied_projections", f"must be empty or one of {', '.join(TIED_PROJECTIONS[1:])}")
    options.check_range("kv_heads", 0, MAX_HEADS)
    options.check_range("window", 0, _MAX_WINDOW)
    heads, groups = options["heads"], options["kv_heads"]
    if groups and heads % groups:
        raise options.error("kv_heads", f"must divide the {heads} heads; {suggest_divisors(heads, groups)}")
    if options["tied_projections"] and groups not in (0, heads):
        raise options.error(
            "tied_projections", f"keys and values must be as wide as queries; use kv_heads=0, not {groups}"
        )
    _validate_head_size(options, hidden_size // heads)
    if options["implementation"] == "cudnn":
        _validate_cudnn(options)
    if options.model["positions"] == "transformer_xl" and options["similarity"] not in ("dot", "scaled"):
        raise ValueError(
            f"model.positions=transformer_xl: is made of dot products; with it, model.attention.similarity must be dot "
            f"or scaled, not {options['similarity']}"
        )


def _validate_head_size(options: MixerOptions, head_size: int) -> None:
    """Refuse positions, and halves of heads, that don't go with heads of this size or with other options."""
    positions = options.model["positions"]
    if options["position_injection"] != "embedding" and positions not in ADDITIVE_POSITIONS:
        raise options.error(
            "position_injection",
            f"says where positions are added, and model.positions={positions} adds none; use one of "
            f"{', '.join(ADDITIVE_POSITIONS)}",
        )
    heads, halves = options["heads"], 2 if options["differential"] else 1

    def require_multiple(multiple: int, why: str) -> None:
        """Refuse a head size that is no multiple, and say which numbers of heads would do, if any."""
        if head_size % multiple:
            units, rest = divmod(head_size * heads, multiple)
            advice = f"model.attention.heads={heads}: {suggest_divisors(units, heads)}"
            advice = f"make hidden_size or width a multiple of {multiple}" if rest else advice
            raise ValueError(f"{why} the head size {head_size} must be a multiple of {multiple}; {advice}")

    if positions == "rope":
        together = " with model.attention.differential" if options["differential"] else ""
        require_multiple(2 * halves, f"model.positions=rope{together}:")
    require_multiple(halves, "model.attention.differential=True:")
    if positions == "hard_alibi" and options["heads"] < 2:
        raise ValueError(
            "model.positions=hard_alibi: limits half of the heads, so model.attention.heads must be 2 or more"
        )


def _validate_cudnn(options: MixerOptions) -> None:
    """Refuse what cuDNN's kernel can't do."""
    model = options.model
    supported = {
        "model.dtype": (model["dtype"], ("bfloat16",)),
        "model.positions": (model["positions"], ("none", *ADDITIVE_POSITIONS, "rope")),
        "model.attention.similarity": (options["similarity"], ("scaled", "dot")),
        "model.attention.normalizer": (options["normalizer"], ("softmax",)),
        "model.attention.window": (options["window"], (0,)),
        "model.attention.differential": (options["differential"], (False,)),
    }
    for field, (value, choices) in supported.items():
        if value not in choices:
            raise options.error(
                "implementation",
                f"does not go with {field}={value}, only with {', '.join(map(str, choices))}; use "
                f"implementation=blocks",
            )
