"""Downloads against a server on this machine that behaves badly on demand."""

import hashlib
import http.server
import logging
import socket
import threading

import pytest

from stepax.data import download, load
from stepax.data.download import find

RIGHT, WRONG = b"the right content" * 1000, b"an error page that came with status 200"
CHECKSUMS = {"a.gz": hashlib.sha256(RIGHT).hexdigest()}


class Server:
    """Answers the n-th request with the n-th of ``answers`` (content, or a status), and the last one from then on."""

    def __init__(self, *answers):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = answers[min(len(outer.asked), len(answers)) - 1]
                self.send_response(answer if isinstance(answer, int) else 200)
                body, length = outer.body(answer)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    @staticmethod
    def body(answer):
        """Content and promised length; a tuple breaks off early."""
        if isinstance(answer, tuple):
            return answer[0][:100], len(answer[0])
        content = b"" if isinstance(answer, int) else answer
        return content, len(content)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve():
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder of the user's, no waiting."""
    monkeypatch.setenv("STEPAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEPAX_DATA", raising=False)
    monkeypatch.setattr(download, "PAUSE", 0)
    logging.getLogger("pooch").setLevel(logging.ERROR)
    return tmp_path / "cache" / "toy"


@pytest.fixture
def closed():
    """The address of a port at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_is_kept(serve, cache):
    server = serve(RIGHT)
    paths = find("toy", CHECKSUMS, [server.url])
    assert paths == {"a.gz": cache / "a.gz"}
    assert paths["a.gz"].read_bytes() == RIGHT
    assert find("toy", CHECKSUMS, [server.url]) == paths
    assert server.asked == ["/a.gz"]


@pytest.mark.parametrize("bad", [WRONG, 404, 503, b"", (RIGHT,)])
def test_a_bad_answer_is_dropped_and_asked_again(serve, cache, bad):
    server = serve(bad, RIGHT)
    assert find("toy", CHECKSUMS, [server.url])["a.gz"].read_bytes() == RIGHT
    assert len(server.asked) == 2
    assert files(cache) == ["a.gz"]


def test_the_next_mirror_helps_before_the_first_is_asked_again(serve, closed):
    wrong, right = serve(WRONG), serve(RIGHT)
    assert find("toy", CHECKSUMS, [closed, wrong.url, right.url])["a.gz"].read_bytes() == RIGHT
    assert (len(wrong.asked), len(right.asked)) == (1, 1)


def test_a_wrong_checksum_everywhere_leaves_nothing_behind(serve, cache):
    server = serve(WRONG)
    with pytest.raises(ConnectionError, match="cannot download toy") as caught:
        find("toy", CHECKSUMS, [server.url])
    assert "a file with a wrong hash" in str(caught.value)
    assert len(server.asked) == download.ROUNDS
    assert files(cache) == []


def test_a_status_is_told_once_for_each_mirror(serve):
    server = serve(404)
    with pytest.raises(ConnectionError, match=r"cannot download toy \([^,]*: status 404\)"):
        find("toy", CHECKSUMS, [server.url])


def test_offline_says_which_files_to_put_where(cache, closed, tmp_path, monkeypatch):
    checksums = CHECKSUMS | {"b.gz": CHECKSUMS["a.gz"]}
    with pytest.raises(ConnectionError) as caught:
        find("toy", checksums, [closed])
    assert str(caught.value).splitlines() == [
        f"cannot download toy ({closed.split('/')[2]}: no connection)",
        f"put a.gz, b.gz into $STEPAX_DATA/toy, or into {cache}",
    ]
    monkeypatch.setenv("STEPAX_DATA", str(tmp_path / "mine"))
    with pytest.raises(ConnectionError, match=str(tmp_path / "mine" / "toy")):
        find("toy", checksums, [closed])


def test_load_is_offline_in_the_same_words(closed, monkeypatch):
    from stepax.data import idx

    monkeypatch.setitem(idx.PUBLISHED, "mnist", idx.PUBLISHED["mnist"]._replace(mirrors=(closed,)))
    with pytest.raises(ConnectionError, match=r"put train-images-idx3-ubyte.gz, .*t10k-labels-idx1-ubyte.gz into"):
        load("mnist")


def test_a_damaged_file_in_the_cache_is_replaced(serve, cache, closed):
    cache.mkdir(parents=True)
    (cache / "a.gz").write_bytes(RIGHT[:50])
    with pytest.raises(ConnectionError):
        find("toy", CHECKSUMS, [closed])
    assert find("toy", CHECKSUMS, [serve(RIGHT).url])["a.gz"].read_bytes() == RIGHT


def test_the_users_folder_comes_first_and_is_never_written(serve, cache, tmp_path, monkeypatch):
    server, own = serve(RIGHT), tmp_path / "mine" / "toy" / "a.gz"
    monkeypatch.setenv("STEPAX_DATA", str(tmp_path / "mine"))
    assert find("toy", CHECKSUMS, [server.url]) == {"a.gz": cache / "a.gz"}
    own.parent.mkdir(parents=True)
    own.write_bytes(RIGHT)
    assert find("toy", CHECKSUMS, [server.url]) == {"a.gz": own}
    own.write_bytes(WRONG)
    with pytest.raises(
        ValueError, match=f"a.gz has SHA-256 {hashlib.sha256(WRONG).hexdigest()}: expected {CHECKSUMS['a.gz']}"
    ):
        find("toy", CHECKSUMS, [server.url])
    assert own.read_bytes() == WRONG
    assert len(server.asked) == 1
