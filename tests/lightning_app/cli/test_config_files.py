"""Every shipped recipe parses, and what it says is what is built."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from datamodules.augmentation import Augment
from lightning_app.bench.contestants.step_timing import AUGMENTS
from lightning_app.cli.cli import CLI
from lightning_app.cli.config_files import MOVED, find_config, resolve_configs
from lightning_app.errors import UsageError
from lightning_app.launchers.launch import Launch
from lightning_app.trainer.machine import Machine
from lightning_app.trainer.plan import plan_run

CONFIGS = Path(__file__).parents[3] / "configs"
RECIPES = sorted(CONFIGS.glob("*.yaml"))
STRATEGIES = sorted((CONFIGS / "trainer").glob("*.yaml"))
EVERY = [pytest.param(path, id=str(path.relative_to(CONFIGS))) for path in (*RECIPES, *STRATEGIES)]
ALONE = Launch("none", 1, 0, 0, 1, 0, 1)
EVERY_RECIPE = [pytest.param(path, id=path.name) for path in RECIPES]


class Instantiated(CLI):
    """The program up to the point where everything is built and nothing has run."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def instantiated(cache_dir: str, *args: str) -> Instantiated:
    """Build everything, on the digits and without pretrained weights: neither is downloaded."""
    here = ["--data.dataset", "digits", "--data.cache_dir", cache_dir, "--model.weights", "none"]
    return Instantiated(["fit", *args, *here], started=0.0)


def leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested dict."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def test_there_are_recipes() -> None:
    shipped = {"quickstart", "cifar10", "cifar10_quick", "cifar10_best", "cifar10_original", "image_folder"}
    assert shipped <= {path.stem for path in RECIPES}
    assert [path.stem for path in STRATEGIES] == ["cpu", "ddp", "gpu"]


@pytest.mark.parametrize("path", EVERY)
def test_a_recipe_begins_by_saying_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", EVERY_RECIPE)
def test_a_recipe_is_built_as_it_is_written(path: Path, cache_dir: str, empty_folder: Path) -> None:
    cli = instantiated(cache_dir, "--config", str(path))
    parsed = dict(leaves(cli.config_init.fit.clone().as_dict()))
    asked = dict(leaves(yaml.safe_load(path.read_text())))
    ours = {"data.dataset", "data.root", "model.weights"}
    dumped = dict(leaves(yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))["fit"]))
    assert {name: dumped[name] for name in asked.keys() - ours} == {name: asked[name] for name in asked.keys() - ours}
    assert parsed["name"] == asked["name"]

    assert cli.trainer.max_epochs == asked["trainer.max_epochs"]
    assert cli.datamodule.batch_size == asked.get("data.batch_size", 64)
    assert cli.datamodule.train_size(0) == cli.datamodule.image_sizes[0]
    assert cli.model.network.backbone.classifier[1].out_features == cli.datamodule.num_classes == 10
    assert cli.model.optimizer([cli.model.head.bias]).defaults["lr"] == asked.get("model.optimizer.init_args.lr", 3e-4)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("name", ["cifar10", "cifar10_quick", "cifar10_best"])
def test_a_recipe_that_was_measured_says_what_to_expect_where(name: str) -> None:
    beginning = (CONFIGS / f"{name}.yaml").read_text().partition("name:")[0]
    assert re.search(r"Expected: [0-9.]+% .* after [0-9]+ minutes on 2 cores of an? \w+ \w+", beginning)


def test_the_bench_augments_as_the_recipe_does() -> None:
    recipe = yaml.safe_load((CONFIGS / "cifar10.yaml").read_text())
    assert AUGMENTS["program"] == Augment(**recipe["data"]["augment"])


def test_the_original_recipe_is_that_of_the_study(cache_dir: str, empty_folder: Path) -> None:
    cli = instantiated(cache_dir, "--config", str(CONFIGS / "cifar10_original.yaml"))
    optimizer = cli.model.optimizer(cli.model.parameters())
    schedule = cli.model.lr_scheduler(optimizer)
    assert type(optimizer).__name__ == "Adam"
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-4, 0)
    assert type(schedule).__name__ == "StepLR"
    assert (schedule.step_size, schedule.gamma) == (10, 0.1)
    assert (cli.trainer.max_epochs, cli.datamodule.batch_size, cli.datamodule.image_sizes) == (20, 64, [224])
    assert len(cli.datamodule.indices["val"]) == 0
    assert not [callback for callback in cli.trainer.callbacks if type(callback).__name__ == "EMA"]


@pytest.mark.parametrize(
    ("file", "options", "strategy", "processes"),
    [("cpu", [], SingleDeviceStrategy, 1), ("ddp", ["--trainer.devices", "2"], DDPStrategy, 2)],
)
def test_a_strategy_file_after_a_recipe_changes_the_strategy_alone(
    file: str, options: list[str], strategy: type, processes: int, cache_dir: str, empty_folder: Path
) -> None:
    recipe = ["--config", str(CONFIGS / "quickstart.yaml")]
    cli = instantiated(cache_dir, *recipe, "--config", str(CONFIGS / f"trainer/{file}.yaml"), *options)
    assert isinstance(cli.trainer.strategy, strategy)
    assert cli.trainer.num_devices == processes
    assert cli.trainer.max_epochs == instantiated(cache_dir, *recipe).trainer.max_epochs


def test_the_gpu_file_asks_for_one_gpu() -> None:
    machine = Machine(cores=8, cpu_bf16=False, gpus=("A100",), gpu_bf16=True)
    options = yaml.safe_load((CONFIGS / "trainer/gpu.yaml").read_text())["trainer"]
    plan = plan_run(
        options.pop("strategy"), options.pop("devices", None), options.pop("precision", None), machine, ALONE
    )
    assert (plan.strategy, plan.accelerator, plan.devices) == ("gpu", "cuda", 1)
    assert options == {}


@pytest.mark.parametrize("misspelt", ["data: {batchsize: 3}", "trainer: {max_epoch: 1}", "model: {backbon: resnet18}"])
def test_a_misspelt_key_is_one_error_that_names_it(misspelt: str, cache_dir: str, empty_folder: Path) -> None:
    Path("mine.yaml").write_text(misspelt)
    with pytest.raises(UsageError, match=misspelt.split("{")[1].split(":")[0]):
        instantiated(cache_dir, "--config", "mine.yaml")


def test_an_unknown_strategy_is_one_error_that_lists_the_valid_ones(cache_dir: str, empty_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"^trainer\.strategy is gpus; expected one of auto, cpu, gpu, ddp or"):
        instantiated(cache_dir, "--trainer.strategy", "gpus")


def test_a_config_of_ones_own_comes_before_a_shipped_one(empty_folder: Path) -> None:
    assert find_config("configs/quickstart.yaml") == str(CONFIGS / "quickstart.yaml")
    Path("configs").mkdir()
    Path("configs/quickstart.yaml").write_text("name: mine")
    assert find_config("configs/quickstart.yaml") == "configs/quickstart.yaml"


def test_only_what_follows_config_is_looked_up(empty_folder: Path) -> None:
    shipped = str(CONFIGS / "trainer/cpu.yaml")
    args = ["--config", "configs/trainer/cpu.yaml", "--config=configs/trainer/cpu.yaml", "configs/trainer/cpu.yaml"]
    assert resolve_configs(args) == ["--config", shipped, f"--config={shipped}", args[-1]]
    assert resolve_configs(["-c", "configs/trainer/cpu.yaml"]) == ["-c", shipped]


def test_options_in_place_of_a_config_stay_as_they_were_written(empty_folder: Path) -> None:
    assert find_config("trainer: {max_epochs: 1}") == "trainer: {max_epochs: 1}"


@pytest.mark.parametrize(
    ("name", "nearest"), [("configs/cifar.yaml", "configs/cifar10.yaml"), ("gpus.yaml", "trainer/gpu")]
)
def test_a_config_that_is_nowhere_is_an_error_that_names_the_nearest(
    name: str, nearest: str, empty_folder: Path
) -> None:
    with pytest.raises(UsageError, match=f"no config at {name}; did you mean .*{nearest}"):
        find_config(name)


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_class_that_has_moved_is_named_with_its_new_path(old: str, new: str, tmp_path: Path) -> None:
    module, _, name = new.rpartition(".")
    assert hasattr(importlib.import_module(module), name)
    config = tmp_path / "mine.yaml"
    config.write_text(f"trainer: {{callbacks: [{{class_path: {old}}}]}}\n")
    for args, where in ((["--config", str(config)], config), (["--trainer.callbacks", old], "the command line")):
        with pytest.raises(UsageError, match=f"{where} names the class {old}, which has moved: write {new}"):
            resolve_configs(args)


@pytest.mark.parametrize(
    "path",
    ["models.schedules.OneCycle", "lightning_app.environment.LauncherEnvironment", "lightning_app.callbacks.ema.EMA"],
)
def test_the_class_paths_that_docs_name_stay(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(module), name)
