"""Flags that have no effect beside others, which a user would not notice: they are refused."""

HEAD = (  # how a head is trained
    "augment", "dropout", "epochs", "lr", "lr_factor", "lr_patience", "min_lr", "momentum", "no_cache", "optimizer", "patience",
    "samples_per_epoch", "schedule", "smoothing", "unfreeze_last", "views", "warmup_epochs", "weight_decay",
)  # fmt: skip
FINETUNE = ("crop_padding", "cutout", "finetune_lr", "lr_factor", "lr_patience", "patience", "schedule")


def check(parser, args):
    """End with one line where a flag is given, that is, differs from its default, and has no effect beside the others."""
    values = vars(args)
    for beside, names in _without_effect(values).items():
        for name in names:
            value = values.get(name)
            if name in values and value is not False and value != parser.get_default(name):
                given = [] if value is True else value if isinstance(value, list) else [value]
                flag = " ".join(map(str, [f"--{name.replace('_', '-')}", *given]))
                parser.error(f"{flag} has no effect {beside}: leave it out")


def _without_effect(values):
    """The names of the arguments without effect, by the reason."""
    given = values.get
    draws_anew = given("no_cache") or given("unfreeze_last")
    has_head = given("weights") != "none" if given("head_epochs") is None else given("head_epochs")
    reasons = {
        "with --head logistic": (given("head") == "logistic", HEAD),
        "with --schedule cosine": (given("schedule") == "cosine", ("lr_factor", "lr_patience", "min_lr")),
        "without --schedule cosine": (given("schedule") != "cosine", ("warmup_epochs",)),
        "without --optimizer sgd": (given("optimizer") != "sgd", ("momentum",)),
        "without --augment": (not given("augment"), ("crop_padding", "cutout", *(["views"] if given("views") != 1 else []))),
        "with --no-cache or --unfreeze-last": (draws_anew and given("views") != 1, ("views",)),
        "with --no-resize": (given("no_resize"), ("interpolation",)),
        "with --finetune-epochs 0": (given("finetune_epochs") == 0, FINETUNE),
        "without --head-epochs": (not has_head, ("head_lr",)),
    }
    return {beside: names for beside, (is_so, names) in reasons.items() if is_so}
