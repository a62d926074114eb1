"""The configuration: read from TOML, and one clear message for whatever is wrong with it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pinsage.config import Config, changed, expand, load_config, parse_config
from pinsage.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "configs"
# Settings of learning alone, laid over a data set's file.
PROFILES = [FOLDER / "best.toml", FOLDER / "paper.toml"]
CONFIGS = sorted(set(FOLDER.glob("*.toml")) - set(PROFILES))
SMALLEST = 'name = "films"\n[data.interactions]\npath = "ratings.csv"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "films.toml"
    path.write_text(SMALLEST)
    return path


def error_of(path: Path, text: str | None = None, *overrides: str) -> str:
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestReading:
    def test_a_name_and_a_path_are_enough(self, file: Path) -> None:
        config = load_config(file)
        assert (config.name, config.root) == ("films", Path("var"))
        assert config.data.interactions.path == "ratings.csv"
        assert config.data.items is None

    @pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
    def test_every_file_of_configs_is_valid(self, path: Path) -> None:
        assert load_config(path).name

    def test_survives_json(self, file: Path) -> None:
        config = load_config(file, ("evaluation.ks=[3]", "data.items.path=items.csv"))
        assert parse_config(config.model_dump(mode="json")) == config

    def test_is_frozen(self, file: Path) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            load_config(file).seed = 1  # type: ignore[misc]

    def test_a_date_may_be_written_as_a_date_or_as_text(self, file: Path) -> None:
        for value in ("2001-02-03", '"2001-02-03"'):
            config = load_config(file, (f"contract.earliest={value}",))
            assert config.contract.earliest == date(2001, 2, 3)


class TestBadFile:
    def test_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "none.toml"
        assert error_of(path) == (f"{path}: no such configuration file; see configs/ for examples")

    def test_folder(self, tmp_path: Path) -> None:
        assert error_of(tmp_path).startswith(f"{tmp_path}: cannot be read (")

    def test_not_toml(self, file: Path) -> None:
        message = error_of(file, "name = \n")
        assert message.startswith(f"{file}: not valid TOML (")
        assert "line 1" in message

    def test_not_text(self, file: Path) -> None:
        file.write_bytes(b"name = '\xff'")
        assert error_of(file).startswith(f"{file}: cannot be read (")


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[training]\nepoch = 3", "training.epoch", "unknown key; `pinsage config` lists"),
        ("[trainng]\nepochs = 3", "trainng", "unknown key"),
        ("[training]\nepochs = 0", "training.epochs", "greater than or equal to 1 (got 0)"),
        ("[training]\nepochs = 2.5", "training.epochs", "a valid integer"),
        ("[training]\nepochs = 'many'", "training.epochs", "(got 'many')"),
        ("[training]\nmargin = inf", "training.margin", "a finite number (got inf)"),
        ("[training]\nlearning_rate = nan", "training.learning_rate", "finite number (got nan)"),
        ("[training]\ndevice = 'tpu'", "training.device", "'auto', 'cpu' or 'cuda' (got 'tpu')"),
        ("[neighbourhoods]\nrestart = 1.0", "neighbourhoods.restart", "less than 1 (got 1.0)"),
        ("[neighbourhoods]\nsize = 1001", "neighbourhoods.size", "less than or equal to 1000"),
        (
            "[neighbourhoods]\nsize = 5\nby_content = 6",
            "neighbourhoods",
            "by_content must be at most size, the number of neighbours kept an item (got 6 and 5)",
        ),
        (
            "[graph]\nweights = 'count'\n[pairs]\ncontext_share = 0.5",
            "(top level)",
            "set it to 1, or graph.weights to 'none' (got 0.5 and 'count')",
        ),
        (
            "[graph]\nhalf_life_days = 30",
            "graph",
            "set weights to 'count' or 'sum' (got half_life_days 30.0)",
        ),
        (
            "[training]\nloss = 'full_softmax'",
            "(top level)",
            "set negatives.exclude_positives and negatives.in_batch to false",
        ),
        ("[training]\npasses = 3", "training", "alone: set passes to 1 (got 3 with loss 'max_"),
        (
            "[training]\nloss = 'full_softmax'\nhold_out_edges = true",
            "training",
            "set epoch_pairs to 0 and hold_out_edges to false (got 0 and true)",
        ),
        ("[graph]\nweights = 'mean'", "graph.weights", "'none', 'count' or 'sum' (got 'mean')"),
        ("[contract]\nmax_orphan_share = 1.5", "contract.max_orphan_share", "equal to 1 (got"),
        ("[evaluation]\nks = [10, 0]", "evaluation.ks.1", "greater than or equal to 1 (got 0)"),
        ("[evaluation]\nks = []", "evaluation.ks", "at least 1 item"),
        ("[split]\ntrain_share = 0.9", "split", "below 1 to leave a test period (got 0.9 + 0.1)"),
        ("[publish]\nkeep = 1", "publish.keep", "greater than or equal to 2 (got 1)"),
        ("[data.items]\npath = ''", "data.items.path", "at least 1 character"),
        ("[data.items]\npath='a'\nfeatures={a='colour'}", "data.items.features.a", "'numerical'"),
        ("[data.items]\npath='a'\nurl='sqlite://'\nquery='q'", "data.items", "exactly one of"),
        ("[data.items]\ntitle_column = 'a'", "data.items", "exactly one of `path`"),
        ("[data.items]\nurl = 'sqlite://'", "data.items", "`url` and `query` go together"),
        ("[data.items]\npath = 'a'\nquery = 'q'", "data.items", "`url` and `query` go together"),
        (
            "[data.items]\nurl = 'sqlite://'\nquery = 'q'\npackage = 'p'",
            "data.items",
            "`package` needs `path`",
        ),
    ],
)
def test_bad_value_names_file_key_and_what_is_allowed(
    file: Path, text: str, key: str, words: str
) -> None:
    message = error_of(file, SMALLEST + text)
    assert message.startswith(f"{file}: {key}: ")
    assert words in message


@pytest.mark.parametrize("name", ["", "Films", "../films", "a/b", "-films", "f" * 65, "fïlms"])
def test_name_that_could_leave_its_folder_is_refused(file: Path, name: str) -> None:
    message = error_of(file, SMALLEST.replace("films", name, 1))
    assert message.startswith(f"{file}: name: string should match pattern")


def test_missing_keys_are_all_named(file: Path) -> None:
    assert error_of(file, "seed = 1") == (
        f"{file}: name: missing, and it has no default; data: missing, and it has no default; "
        f"a profile such as configs/paper.toml is named after a data set's file"
    )


def test_two_mistakes_are_one_line(file: Path) -> None:
    message = error_of(file, SMALLEST + "[training]\nepochs = 0\nspeed = 1")
    assert "training.epochs: " in message
    assert "; training.speed: unknown key" in message


def test_database_password_is_not_repeated(file: Path) -> None:
    message = error_of(file, SMALLEST + "[data.items]\nurl = 'postgresql://me:canary@host/db'")
    assert "canary" not in message


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "key", "expected"),
        [
            ("training.epochs=3", "training.epochs", 3),
            (" training.epochs = 3 ", "training.epochs", 3),
            ("training.margin=0.25", "training.margin", 0.25),
            ("model.normalize=false", "model.normalize", False),
            ("name=other", "name", "other"),
            ('name="other"', "name", "other"),
            ("evaluation.ks=[3, 4]", "evaluation.ks", (3, 4)),
            ("data.interactions.path=a b=c.csv", "data.interactions.path", "a b=c.csv"),
            ('data.interactions.delimiter="\\t"', "data.interactions.delimiter", "\t"),
            (r"data.interactions.delimiter='\t'", "data.interactions.delimiter", "\t"),
            ("training.device=cpu", "training.device", "cpu"),
        ],
    )
    def test_set_one_value(self, file: Path, override: str, key: str, expected: object) -> None:
        value: Any = load_config(file, (override,))
        for part in key.split("."):
            value = getattr(value, part)
        assert value == expected

    def test_later_ones_win_and_groups_are_made(self, file: Path) -> None:
        overrides = ("data.items.path=a", "data.items.path=b", "data.items.features.t=text")
        items = load_config(file, overrides).data.items
        assert items is not None
        assert (items.path, items.features) == ("b", {"t": "text"})

    @pytest.mark.parametrize("override", ["training.epochs", "=3", " =3", ""])
    def test_wrong_form_says_the_right_one(self, file: Path, override: str) -> None:
        message = error_of(file, None, override)
        assert message == f"--set {override!r}: expected group.key=value"

    def test_value_is_no_group(self, file: Path) -> None:
        assert "name is a value, not a group" in error_of(file, None, "name.first=1")

    def test_unknown_key_is_named(self, file: Path) -> None:
        assert "training.epoch: unknown key" in error_of(file, None, "training.epoch=1")


class TestLayers:
    def lay(self, folder: Path, *texts: str, overrides: tuple[str, ...] = ()) -> Config:
        files = [folder / f"{number}.toml" for number in range(len(texts))]
        for path, text in zip(files, texts, strict=True):
            path.write_text(text)
        return load_config(files, overrides)

    def test_a_later_file_changes_what_it_names_and_nothing_else(self, tmp_path: Path) -> None:
        below = SMALLEST + "[training]\nepochs = 3\nmargin = 0.2\n[evaluation]\nks = [5, 6]"
        config = self.lay(tmp_path, below, "[training]\nepochs = 4\n[evaluation]\nks = [7]")
        assert (config.training.epochs, config.training.margin) == (4, 0.2)
        assert config.evaluation.ks == (7,)  # a list is a value
        assert config.name == "films"

    def test_the_last_of_three_wins_and_the_shell_over_all(self, tmp_path: Path) -> None:
        texts = (SMALLEST, "seed = 1\n[model]\nlayers = 1", "seed = 2")
        config = self.lay(tmp_path, *texts, overrides=("model.layers=0",))
        assert (config.seed, config.model.layers) == (2, 0)

    def test_one_file_in_a_list_is_that_file(self, file: Path) -> None:
        assert load_config([file]) == load_config(file)

    def test_a_mistake_says_which_file_made_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            self.lay(tmp_path, SMALLEST, "[training]\nepochs = 0\n[trainng]\nepochs = 1")
        below, above = tmp_path / "0.toml", tmp_path / "1.toml"
        message = str(caught.value)
        assert message.startswith(f"{below} + {above}: ")
        assert f"training.epochs (from {above}): input should be greater" in message
        assert f"trainng (from {above}): unknown key" in message

    def test_a_mistake_of_the_shell_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"model\.layers \(from --set\): input should be less"
        ):
            self.lay(tmp_path, SMALLEST, "seed = 1", overrides=("model.layers=9",))

    def test_two_files_that_disagree_together_name_neither(self, tmp_path: Path) -> None:
        below = SMALLEST + "[split]\ntrain_share = 0.8"
        with pytest.raises(ConfigError, match=r"1\.toml: split: .*below 1"):
            self.lay(tmp_path, below, "[split]\nvalid_share = 0.3")

    @pytest.mark.parametrize(
        ("above", "words"),
        [
            ("model = 1", "model is a value here (got 1), and a group in a file before it"),
            ("[seed]\na = 1", "seed is a group here, and a value in a file before it (got 3)"),
        ],
    )
    def test_a_value_is_not_laid_over_a_group_or_the_reverse(
        self, tmp_path: Path, above: str, words: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            self.lay(tmp_path, "seed = 3\n" + SMALLEST + "[model]\nlayers = 1", above)
        assert str(caught.value).startswith(f"{tmp_path / '1.toml'}: {words}")

    def test_a_missing_file_among_several_is_named(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.toml: no such configuration file"):
            load_config([file, tmp_path / "none.toml"])

    @pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
    @pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
    def test_every_profile_fits_every_data_set(self, path: Path, profile: Path) -> None:
        config = load_config([path, profile])
        assert config.data == load_config(path).data

    @pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
    def test_a_profile_holds_learning_settings_alone(self, profile: Path) -> None:
        groups = set(tomllib.loads(profile.read_text()))
        assert groups <= {"neighbourhoods", "model", "pairs", "negatives", "training"}

    @pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
    def test_the_paper_is_the_same_over_every_data_set(self, path: Path) -> None:
        cost = {"training.epoch_pairs", "training.validation_pairs"}
        paper = tomllib.loads((FOLDER / "paper.toml").read_text())
        groups = tomllib.loads(path.read_text())
        set_by_data = {f"{group}.{key}" for group in paper for key in groups.get(group, {})}
        set_by_paper = {f"{group}.{key}" for group, keys in paper.items() for key in keys}
        assert set_by_data - cost <= set_by_paper


def test_changed_values_are_validated_and_the_rest_stays(file: Path) -> None:
    config = load_config(file, ("data.items.path=a", "data.items.features.t=text"))
    other = changed(config, {"model.layers": 0, "training.margin": 0.5})
    assert (other.model.layers, other.training.margin) == (0, 0.5)
    assert changed(other, {"model.layers": 2, "training.margin": 0.1}) == config
    with pytest.raises(ConfigError, match=r"row 1: model\.layers: .*\(got -1\)"):
        changed(config, {"model.layers": -1}, where="row 1")


class TestExpansion:
    def test_home_and_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/homes/me")
        monkeypatch.setenv("DATA_OF_A_TEST", "films")
        assert expand("~/$DATA_OF_A_TEST/${DATA_OF_A_TEST}", field="f") == "/homes/me/films/films"

    @pytest.mark.parametrize("text", ["$NOT_SET_IN_A_TEST", "a/${NOT_SET_IN_A_TEST}/b"])
    def test_unset_variable_is_named(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NOT_SET_IN_A_TEST", raising=False)
        with pytest.raises(ConfigError, match=r"f: .* NOT_SET_IN_A_TEST is not set; export it"):
            expand(text, field="f")

    def test_value_of_a_variable_is_taken_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PASSWORD_OF_A_TEST", "a$ecret~")
        assert expand("me:$PASSWORD_OF_A_TEST@host", field="url") == "me:a$ecret~@host"

    def test_root_is_expanded(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/homes/me")
        assert load_config(file, ("root=~/var",)).root == Path("/homes/me/var")

    def test_unset_variable_in_root_names_the_file(self, file: Path) -> None:
        message = error_of(file, None, "root=$NOT_SET_IN_A_TEST/var")
        assert message.startswith(f"{file}: root: the environment variable NOT_SET_IN_A_TEST is")


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for group, part in {"Config": schema, **schema["$defs"]}.items():
        for name, field in part.get("properties", {}).items():
            yield f"{group}.{name}", field


def test_every_field_of_the_form_has_a_help_text() -> None:
    found = dict(fields(Config.model_json_schema()))
    assert len(found) > 70
    assert [name for name, field in found.items() if not field.get("description")] == []


def test_every_number_of_the_form_has_a_bound() -> None:
    unbounded = [
        name
        for name, field in fields(Config.model_json_schema())
        if field.get("type") in ("integer", "number")
        and not {"minimum", "exclusiveMinimum"} & field.keys()
    ]
    assert unbounded == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_hold_no_path_of_one_machine(path: Path) -> None:
    for table in tomllib.loads(path.read_text())["data"].values():
        assert not Path(table.get("path", "")).is_absolute()
