"""The closing block that a run prints: its models in a table, what each is weak at, device, time, memory, disk, folder."""

from common import devices, files, hosts
from common.cli import tell
from common.results import tables

COLUMNS = ("model", "trained weights", "epochs", "test accuracy [95 % interval]", "seconds", "documented")


def show(run, models):
    """Print the closing block of a run; `models` are the results of its models, dicts as in results.json."""
    rows = [
        (
            results["model"],
            f"{results['trained_weights']:,}",
            "-" if "C" in results else results["epochs"],
            tables.accuracy(
                results["test_accuracy"], results["test_accuracy_interval"], balanced=results.get("test_balanced_accuracy")
            ),
            f"{results['seconds']:.1f}",
            tables.documented(results),
        )
        for results in models
    ]
    tell("", *tables.text(rows, COLUMNS))
    if any(tables.documented(results) != "-" for results in models):
        tell(f"documented: {run.experiment.remark}; a number in brackets can't be compared with ours")
    names = devices.names(run.args.devices)
    for results in models:
        tell("", *_details(results, len(names)))
    tell("")
    environment = files.read_json(run.folder / "environment.json")
    processes = f" in {hosts.num_processes()} processes" if hosts.num_processes() > 1 else ""
    where = f"{tables.devices(names)}{processes}, Keras on {environment['backend']}, {environment['precision']}"
    tell(f"{where}, seed {run.args.seed}")
    memory = run.resources()["peak_memory_gib"]
    peak = f", {memory:.1f} GiB of memory at most" if memory else ""
    disk = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file()) / 1e6
    note = ": a dry run, the numbers mean nothing" if run.args.dry_run else ""
    tell(f"{run.status} after {run.seconds:.0f} s{peak}, {disk:,.0f} MB on disk{note}")
    tell(run.folder.resolve())


def _details(results, num_devices):
    shares = zip(results["per_class_accuracy"], results["class_names"], strict=True)
    weakest = sorted((share, name) for share, name in shares if share is not None)[:3]
    confused = [f"{pair['true']} taken for {pair['predicted']} {pair['images']}x" for pair in results["most_confused"]]
    val = "" if results["val_accuracy"] is None else f", val accuracy {results['val_accuracy']:.4f}"
    if results.get("val_balanced_accuracy") is not None:  # which chose the epoch
        val += f", balanced {results['val_balanced_accuracy']:.4f}"
    kept = f"C {results['C']:g}, the best" if "C" in results else f"weights of epoch {results['best_epoch']}"
    return (
        f"{results['model']}: {results['train_size']:,} train / {results['val_size']:,} val / {results['test_size']:,} test, "
        f"{results['trained_weights']:,} weights trained, {results['frozen_weights']:,} frozen",
        f"  {kept} of {results['epochs']}{val}, {_rate(results['images_per_second'], num_devices, ',.0f')}",
        *_extraction(results, num_devices),
        f"  weakest: {', '.join(f'{name} {share:.4f}' for share, name in weakest)}",
        f"  most confused: {', '.join(confused) or 'none'}",
    )


def _rate(images_per_second, num_devices, form):
    each = f" ({images_per_second / num_devices:{form}} per device)" if num_devices > 1 else ""
    return f"{images_per_second:{form}} images/s{each}"


def _extraction(results, num_devices):
    extraction = results.get("extraction")
    if not extraction:
        return
    computed, seconds = extraction["computed"], extraction["seconds"]
    rate = f", {_rate(computed / seconds, num_devices, '.1f')}" if computed else ""
    yield (
        f"  features of {extraction['images']:,} images, {computed:,} computed, in "
        f"{seconds:.0f} s{rate}; the rest is the head's"
    )
