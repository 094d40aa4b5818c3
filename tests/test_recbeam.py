"""The command `recbeam`: it lists its sub-commands at once, runs each, and answers a mistake with one line."""

from __future__ import annotations

import pathlib
import re
import resource
import subprocess
import sys
import tomllib

import pytest

import recbeam
from recbeam.__main__ import COMMANDS, main
from recbeam.arguments import Parser, closest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIGHT_CPU_S = 0.15
HELPS = {
    "recbeam batch-cf": ["batch-cf"],
    "recbeam vae-train": ["vae-train"],
    "recbeam evaluate split": ["evaluate", "split"],
    "recbeam evaluate evaluate": ["evaluate", "evaluate"],
    "recbeam off-policy": ["off-policy"],
    "recbeam reward-stream": ["reward-stream"],
    "recbeam experiment": ["experiment"],
    "recbeam publish": ["publish"],
    "recbeam publish rollback": ["publish", "rollback"],
    "recbeam sync": ["sync"],
    "recbeam lineage": ["lineage"],
    "recbeam ask": ["ask"],
    "recbeam ask recommend": ["ask", "recommend"],
    "recbeam ask status": ["ask", "status"],
    "recbeam ask bench": ["ask", "bench"],
    "recbeam serve": ["serve"],
}
PIPELINES = [name for name in HELPS if name.split()[1] in ("batch-cf", "vae-train", "evaluate", "reward-stream")][:5]


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_without_a_command_it_lists_all_with_a_line_each(arguments, capsys) -> None:
    code, out, err = shown(arguments, capsys)
    assert (code, err) == (0, "")
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.purpose)}$", out, re.MULTILINE)


def test_the_list_imports_nothing_heavy_and_takes_little_time() -> None:
    script = (
        "import sys; from recbeam.__main__ import main; main([])\n"
        "heavy = {'apache_beam', 'tensorflow', 'numpy', 'grpc', 'argparse', 'transforms', 'pipelines'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    times_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "recbeam"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times_s) < LIGHT_CPU_S


def test_the_version_comes_from_one_place(capsys) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "recbeam.__version__"}
    assert shown(["--version"], capsys) == (0, f"recbeam {recbeam.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["batch_cf"], "recbeam: batch_cf is not a command; did you mean batch-cf?\n"),
        (["evalute"], "recbeam: evalute is not a command; did you mean evaluate?\n"),
        (["zzz"], "recbeam: zzz is not a command; run recbeam without arguments for the list\n"),
        (["--verbose"], "recbeam: --verbose is not an option; run recbeam without arguments for the list\n"),
        (
            ["batch-cf", "--similarity=cosin"],
            "recbeam batch-cf: --similarity=cosin is not a choice; did you mean cosine? (choices: auto, count, ",
        ),
        (["batch-cf", "--top_k=ten"], "recbeam batch-cf: --top_k=ten is not a whole number; correct the value\n"),
        (
            ["batch-cf", "--runner=FlinkRuner"],
            "recbeam batch-cf: --runner=FlinkRuner is not a choice; did you mean FlinkRunner? (choices: ",
        ),
        (["vae-train", "--model=recve"], "recbeam vae-train: --model=recve is not a choice; did you mean recvae? (cho"),
        (["evaluate", "spit"], "recbeam evaluate: spit is not a command; did you mean split? (commands: split, eval"),
        (
            ["evaluate", "split", "--by=users"],
            "recbeam evaluate split: --by=users is not a choice; did you mean user? (choices: user, time, user_time)\n",
        ),
        (
            ["reward-stream", "inspct", "d"],
            "recbeam reward-stream: inspct is not a command; did you mean inspect? (com",
        ),
        (
            ["reward-stream", "--streming"],
            "recbeam reward-stream: unknown argument --streming; did you mean --streamin",
        ),
        (
            ["reward-stream", "inspect", "d", "--bandt=x"],
            "recbeam reward-stream inspect: unknown argument --bandt=x; di",
        ),
        (["publish", "rollback", "m", "--to=new"], "recbeam publish rollback: --to=new is not a whole number; correct"),
        (["sync", "a", "b", "--kep=3"], "recbeam sync: unknown argument --kep=3; did you mean --keep?\n"),
        (["ask", "recomend"], "recbeam ask: recomend is not a command; did you mean recommend? (commands: recommend,"),
        (
            ["ask", "status", "--server=h:1", "--model=m", "--timout=1"],
            "recbeam ask: unknown argument --timout=1; did y",
        ),
        (["serve", "--prot=1"], "recbeam serve: unknown argument --prot=1; did you mean --port?\n"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_closest_word(arguments, says, capsys) -> None:
    code, out, err = shown(arguments, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(says)


def test_a_package_that_is_not_installed_is_one_line_with_the_pip_command() -> None:
    for name in ("batch-cf", "vae-train", "evaluate", "reward-stream", "sync"):
        script = (
            "import sys; sys.modules['apache_beam'] = None\n"
            f"from recbeam.__main__ import main; sys.exit(main(['{name}', '--help']))"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "apache_beam is not installed; run: pip install 'recbeam[pipelines]'\n"


def test_a_base_install_runs_the_client_and_publish() -> None:
    """Every module of the extra `pipelines` is hidden, as where grpcio, protobuf and numpy alone are installed."""
    hidden = ["apache_beam", "tensorflow", "pyarrow", "boto3", "yaml", "orjson", "scipy", "rich", "numba", "jinja2"]
    for name in ("ask", "publish"):
        script = (
            f"import sys; sys.modules.update(dict.fromkeys({hidden}))\n"
            f"from recbeam.__main__ import main; sys.exit(main(['{name}', '--help']))"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: recbeam {name} ")


@pytest.mark.parametrize("prog", HELPS)
def test_every_help_states_usage_example_and_exit_codes(prog, capsys) -> None:
    code, out, err = shown([*HELPS[prog], "--help"], capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {prog} ")
    if prog != "recbeam serve":  # the real server's help states neither
        assert re.search("^exit code: 0 done; 2 bad usage; ", out, re.MULTILINE)
        assert f"{prog} " in out.partition("\n")[2]


@pytest.mark.parametrize("prog", PIPELINES)
def test_a_pipelines_help_shows_ten_flags_first_and_the_rest_as_advanced(prog, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = shown([*HELPS[prog], "--help"], capsys)[1]
    parts = re.split(r"^(flags that people use first|advanced|Beam's flags):$", out, flags=re.MULTILINE)
    assert parts[1::2] == ["flags that people use first", "advanced", "Beam's flags"]
    first, advanced, beams = (re.findall(r"^  --(\w+)", part, re.MULTILINE) for part in parts[2::2])
    assert 5 <= len(first) <= 10
    assert advanced
    assert beams == (["runner"] if "streaming" in first else ["runner", "streaming"])


def test_the_closest_word_ignores_case_and_is_none_for_another_word() -> None:
    assert closest("flinkruner", ["FlinkRunner", "PrismRunner"]) == "FlinkRunner"
    assert closest("zzz", ["FlinkRunner"]) is None
    assert closest("cosin", []) is None


def test_a_number_that_is_none_names_its_flag_or_its_place(capsys) -> None:
    parser = Parser(prog="tool")
    parser.add_argument("count", metavar="COUNT", type=int)
    parser.add_argument("--rate", type=float)
    for arguments, says in (
        (["x"], "tool: COUNT: x is not a whole number; correct the value\n"),
        (["1", "--rate=x"], "tool: --rate=x is not a number; correct the value\n"),
        ([], "tool: the following arguments are required: COUNT; see --help\n"),
    ):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(arguments)
        assert (caught.value.code, capsys.readouterr().err) == (2, says)
