import stepax as sx
from stepax.cli.agents.environments import ENVIRONMENTS
from stepax.cli.agents.settings import AGENTS
from stepax.cli.info import size
from stepax.cli.models import MODELS
from stepax.cli.text_models import NAMES


def test_everything_that_has_a_name_is_listed(call):
    done = call("info")
    text = " ".join(done.out.split())
    assert done.status == 0
    for name in [
        *sx.data.names(),
        "tinyshakespeare",
        "trec",
        *MODELS,
        *NAMES,
        *ENVIRONMENTS,
        *AGENTS,
        "cross-entropy",
        "adamw",
        "cosine",
        f"stepax {sx.__version__}",
        "cpu",
    ]:
        assert name in text


def test_the_size_of_a_folder(tmp_path):
    assert size(tmp_path / "none") == "empty"
    (tmp_path / "inside").mkdir()
    (tmp_path / "a").write_bytes(bytes(1_500_000))
    (tmp_path / "inside" / "b").write_bytes(bytes(500_000))
    assert size(tmp_path) == "2.0 MB in 2 files"
    assert size(tmp_path, leave_out=tmp_path / "inside") == "1.5 MB in 1 files"
