"""Which pictures of searches for diversity a comparison's folder or a run's folder allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import load_run
from cairngym.experiments.diversity_figures import draw_areas, draw_curves, draw_maps, draw_paths
from cairngym.experiments.diversity_records import Curves, read_curves, read_saved
from cairngym.experiments.figures import LIGHT, Theme
from cairngym.experiments.plots import Plot, variant_styles
from cairngym.experiments.records import Experiment, Run
from cairngym.reward_shaping.quality_diversity.saved import FILE, SavedArchive

MAPS = (
    "Over the behavior space: the best fitness of every cell, and below it how many evaluations ended there. Rings are "
    "reward areas, lines walls; blank cells were not reached."
)
PATHS = (
    "The ways of the elites through the behavior space, in colour where they were paid and grey where not; the dot is "
    "where the episode ends."
)
CURVES = "Coverage is the share of the cells reached; QD-score the sum over these of the best fitness above the least."
AREAS = "The best fitness found in every reward area, and how many evaluations were spent there."
BANDS = " Interquartile mean over seeds with its pointwise 95 % bootstrap band."


def diversity_plots(experiment: Experiment) -> list[Plot]:
    """The pictures of every task on which some run kept an archive; none for other experiments."""
    return [plot for task in experiment.tasks for plot in _task_plots(experiment, task)]


def _task_plots(experiment: Experiment, task: str) -> list[Plot]:
    runs = {v: experiment.select(task, v, finished=False) for v in experiment.variants}
    read = {v: [c for run in found if (c := read_curves(run.folder))] for v, found in runs.items()}
    groups = {variant: found for variant, found in read.items() if found}
    archives = {v: saved for v, found in runs.items() if (saved := typical(found))}
    place, chosen = task.replace("/", "__"), " For each variant, the seed whose coverage is the median."

    def styled(draw: Callable[..., bytes]) -> Callable[[Theme], bytes]:
        return lambda theme: draw(groups, theme, variant_styles(experiment, theme))

    plots = []
    if groups:
        plots.append(_plot(f"diversity_{place}", f"Diversity on {task}", CURVES + BANDS, styled(draw_curves)))
    if any(len(run.area_best) for found in groups.values() for run in found):
        plots.append(_plot(f"areas_{place}", f"Reward areas on {task}", AREAS + BANDS, styled(draw_areas)))
    if archives:
        maps = lambda theme: draw_maps(archives, theme)  # noqa: E731
        plots.append(_plot(f"archives_{place}", f"Archives on {task}", MAPS + chosen, maps))
    if any(_has_ways(saved) for saved in archives.values()):
        ways = lambda theme: draw_paths(archives, theme)  # noqa: E731
        plots.append(_plot(f"paths_{place}", f"Ways of the elites on {task}", PATHS + chosen, ways))
    return plots


def _plot(name: str, title: str, caption: str, draw: Callable[[Theme], bytes]) -> Plot:
    return Plot(name=name, title=title, caption=caption, draw=draw)


def _has_ways(saved: SavedArchive) -> bool:
    return saved.paths.size > 0 and len(saved.names) > 1


def typical(runs: Sequence[Run]) -> SavedArchive | None:
    """The archive of median coverage (of two in the middle, the lesser) among those the runs left; None without any."""
    found = sorted((len(saved.cell), run.seed, saved) for run in runs if (saved := read_saved(run.folder)))
    return found[(len(found) - 1) // 2][2] if found else None


def draw_search(run: Path, output: Path) -> tuple[Path, ...]:
    """Write the pictures of one run's search, and `figures.md`, which lists them.

    Args:
        run: the run's folder.
        output: the folder to write to.

    Raises:
        ConfigError: the folder holds no run, or none that searched for diversity.
        ValueError: a damaged archive.
        OSError: a file can't be written.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"Expected a run's folder with a config.yaml in it, got {run}.")
    config, saved, curves = load_run(path), read_saved(run), read_curves(run)
    pictures: list[tuple[str, str, bytes]] = []
    if saved is not None:
        pictures.append(("archive", MAPS, draw_maps({"": saved}, LIGHT)))
        if _has_ways(saved):
            pictures.append(("paths", PATHS, draw_paths({"": saved}, LIGHT)))
    if curves is not None:
        groups: dict[str, list[Curves]] = {config.variant: [curves]}
        pictures.append(("diversity", CURVES, draw_curves(groups, LIGHT)))
        if len(curves.area_best):
            pictures.append(("areas", AREAS, draw_areas(groups, LIGHT)))
    if not pictures:
        raise ConfigError(
            f"Expected a run that searched for diversity, with {FILE} or metrics of coverage, got {run}. Train an "
            "evolving agent on a task that declares a behavior descriptor."
        )
    output.mkdir(parents=True, exist_ok=True)
    for name, _, content in pictures:
        (output / f"{name}.png").write_bytes(content)
    listing = output / "figures.md"
    text = [f"# {config.task}, {config.variant}, seed {config.seed}\n"]
    text += [f"![{name}]({name}.png)\n\n*{caption}*\n" for name, caption, _ in pictures]
    listing.write_text("\n".join(text), encoding="utf-8")
    return (*(output / f"{name}.png" for name, *_ in pictures), listing)
