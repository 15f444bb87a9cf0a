"""Flags that have no effect beside others, which a user would not notice: they are refused."""

PLATEAU = ("lr_factor", "lr_patience", "min_lr")
TRAINING = (*PLATEAU, "patience", "schedule")


def check(parser, args):
    """End with one line where a flag asks for something that is not the default, and has no effect beside the others."""
    given = vars(args).get
    draws_anew, asks_for_views = given("no_cache") or given("unfreeze_last"), given("views") != 1
    has_head = given("weights") != "none" if given("head_epochs") is None else given("head_epochs")
    without_effect = {
        "with --schedule cosine": given("schedule") == "cosine" and PLATEAU,
        "without --schedule cosine": given("schedule") != "cosine" and ["warmup_epochs"],
        "without --optimizer sgd": given("optimizer") != "sgd" and ["momentum"],
        "without --augment": not given("augment") and ["crop_padding", "cutout", *["views"] * asks_for_views],
        "with --no-cache or --unfreeze-last": draws_anew and asks_for_views and ["views"],
        "with --no-resize": given("no_resize") and ["interpolation"],
        "with --finetune-epochs 0": given("finetune_epochs") == 0 and [*TRAINING, "crop_padding", "cutout", "finetune_lr"],
        "without --head-epochs": not has_head and ["head_lr"],
    }
    for beside, names in without_effect.items():
        for name in names or ():
            if given(name) and given(name) != parser.get_default(name):
                parser.error(f"--{name.replace('_', '-')} has no effect {beside}: leave it out")
