"""Fetching from a server on this machine that fails in all the ways servers fail."""

from __future__ import annotations

import gzip
import io
import json
import signal
import socket
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest

from minifold.cli import main
from minifold.data import fetch as fetching
from minifold.data.download import Downloader, NotThere
from minifold.data.fetch import KINDS, Sources, align, fetch
from minifold.data.msa import deduplicate, read_alignment, write_alignment
from minifold.data.search import search
from minifold.data.structures import read_structure
from minifold.errors import BadInput
from tests.conftest import ROOT
from tests.local_server import Answer, serve

UBIQUITIN = ROOT / "data" / "structures" / "1ubq.cif"
BPTI = ROOT / "data" / "structures" / "1bpi.cif"
KUNITZ = ROOT / "data" / "sample_msas" / "kunitz_1bpi.a3m"
PACKED = gzip.compress(UBIQUITIN.read_bytes())
ENTRY = "/pdb/1ubq.cif.gz"
FASTA = b">sp|P00974|BPT1_BOVIN\nMKMSRLCLSVALLVLLGTLAASTPGCDTSNQAKAQRPDFCLEPPYTGPC\n"
SEED = b"# STOCKHOLM 1.0\nfirst/1-4  AC-D\nsecond/2-5 A.GD\n//\n"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as state:
        yield state


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Nobody waits; how long they would have is recorded."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def downloader(tmp_path, waits, said) -> Downloader:
    return Downloader(tmp_path / "cache", timeout=5.0, say=said.append)


def sources(url: str) -> Sources:
    return Sources(
        rcsb=f"{url}/pdb",
        rcsb_search=f"{url}/search",
        uniprot=f"{url}/uniprot",
        alphafold=f"{url}/alphafold",
        pfam=f"{url}/pfam",
        openproteinset=f"{url}/openproteinset",
        msa_server=f"{url}/msa",
    )


def get(server, downloader, folder: Path, *names: str) -> list[Path]:
    return fetch(names, folder, sources(server.url), downloader, quiet=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- What a name means ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "example"),
    [("1ubq", "1UBQ"), ("4HHB", "1UBQ"), ("1a02_F", "1BPI_A"), ("7k00_AA", "1BPI_A")]
    + [("P00974", "P00974"), ("A0A023GPI8", "P00974"), ("q9y6k9", "P00974")]
    + [("AF-P00974", "AF-P00974"), ("AF-A0A023GPI8-F2", "AF-P00974")]
    + [("PF00014", "PF00014"), ("PF00014.full", "PF00014"), ("pf00014:full", "PF00014")],
)
def test_forms_of_names(name, example):
    kind, _ = fetching._kind(name)
    assert kind.example == example


def test_examples_of_the_forms_have_their_own_form():
    for kind in KINDS:
        assert fetching._kind(kind.example)[0] is kind


@pytest.mark.parametrize("name", ["", "UBQ1", "12345", "PF14", "../1ubq", "1ubq.cif", "AF-1ubq"])
def test_a_name_without_a_form_fetches_nothing(server, downloader, tmp_path, name):
    with pytest.raises(BadInput, match="no form that is known; forms are 1UBQ"):
        get(server, downloader, tmp_path / "out", "1ubq", name)
    assert server.requests == [] and names(tmp_path) == []


# --- Each database --------------------------------------------------------------------------------


def test_each_database_gives_its_file(server, downloader, tmp_path):
    rows = KUNITZ.read_bytes().split(b">")
    query, others = b">" + rows[1], [b">" + row for row in rows[2:]]
    found = [
        {"entryId": f"AF-P00974{x}-F1", "cifUrl": f"{server.url}/m{x}.cif"} for x in ("-2", "")
    ]
    server.answers = {
        ENTRY: [Answer(PACKED)],
        "/uniprot/P00974.fasta": [Answer(FASTA)],
        "/alphafold/P00974": [Answer(json.dumps(found).encode())],
        "/m.cif": [Answer(BPTI.read_bytes())],
        "/pfam/PF00014/?annotation=alignment:seed": [Answer(gzip.compress(SEED))],
        "/pfam/PF00014/?annotation=alignment:full": [Answer(SEED + b"\n")],
        "/openproteinset/1bpi_A/a3m/uniref90_hits.a3m": [Answer(query + b"".join(others[:60]))],
        "/openproteinset/1bpi_A/a3m/mgnify_hits.a3m": [Answer(query + b"".join(others[40:]))],
    }
    wanted = ["1UBQ", "P00974", "AF-P00974", "PF00014", "PF00014.full", "1BPI_A"]
    paths = get(server, downloader, tmp_path / "out", *wanted)
    assert [path.name for path in paths] == [
        "1ubq.cif", "P00974.fasta", "AF-P00974-F1.cif", "PF00014.sto", "PF00014_full.sto",
        "1bpi_A.a3m",
    ]  # fmt: skip
    contents = [path.read_bytes() for path in paths[:5]]
    assert contents == [UBIQUITIN.read_bytes(), FASTA, BPTI.read_bytes(), SEED, SEED + b"\n"]
    assert read_alignment(paths[3]).query == "ACD"
    merged, whole = read_alignment(paths[5]), deduplicate(read_alignment(KUNITZ))
    assert merged.names[0] == "1bpi_A" and merged.names[1:] == whole.names[1:]
    np.testing.assert_array_equal(merged.tokens, whole.tokens)
    np.testing.assert_array_equal(merged.deletions, whole.deletions)
    agents = {headers["User-Agent"] for _, _, headers, _ in server.requests}
    assert len(agents) == 1 and agents.pop().startswith("minifold/")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("9ZZZ", "the PDB has no entry 9ZZZ"),
        ("P99999", "UniProt has no sequence P99999"),
        ("AF-P99999", "the AlphaFold database has no model AF-P99999-F1"),
        ("PF99999", "Pfam has no seed alignment of PF99999"),
        ("9zzz_A", "OpenProteinSet has no alignment of 9zzz_A"),
    ],
)
def test_what_does_not_exist_is_named(server, downloader, tmp_path, waits, name, says):
    with pytest.raises(NotThere, match=says) as error:
        get(server, downloader, tmp_path / "out", name)
    assert "\n" not in str(error.value)
    assert waits == [] and names(tmp_path / "out") == []
    assert len(server.requests) == (3 if name == "9zzz_A" else 1)  # not asked twice


def test_an_empty_answer_is_nothing(server, downloader, tmp_path):
    server.answers["/pfam/PF00014/?annotation=alignment:seed"] = [Answer(status=204)]
    with pytest.raises(NotThere, match="Pfam has no seed alignment"):
        get(server, downloader, tmp_path, "PF00014")


def test_an_empty_file_is_nothing(server, downloader, tmp_path):
    """So UniProt may answer for an entry that was deleted."""
    for content in (b"", b"\n", gzip.compress(b"")):
        server.answers["/uniprot/P00974.fasta"] = [Answer(content)]
        with pytest.raises(NotThere, match="UniProt has no sequence P00974; is it obsolete"):
            get(server, downloader, tmp_path / "out", "P00974")
    assert names(tmp_path / "out") == [] == list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("key", ["modelEntityId", "entryId"])
def test_the_name_of_a_model_under_both_of_its_keys(server, downloader, tmp_path, key):
    found = [{key: f"AF-P00974-F{n}", "cifUrl": f"{server.url}/m{n}.cif"} for n in (1, 2)]
    server.answers = {
        "/alphafold/P00974": [Answer(json.dumps(found).encode())],
        "/m1.cif": [Answer(BPTI.read_bytes())],
        "/m2.cif": [Answer(UBIQUITIN.read_bytes())],
    }
    one, two = get(server, downloader, tmp_path / "out", "AF-P00974", "AF-P00974-F2")
    assert one.read_bytes() == BPTI.read_bytes() and two.name == "AF-P00974-F2.cif"
    assert two.read_bytes() == UBIQUITIN.read_bytes()


@pytest.mark.parametrize(
    "text", [b"[1]", b'["x"]', b"[{}]", b'[{"entryId": "x"}]', b"[", b"[null]"]
)
def test_models_in_an_unknown_form(server, downloader, tmp_path, text):
    server.answers["/alphafold/P00974"] = [Answer(text)]
    with pytest.raises(BadInput, match="an answer of unknown form"):
        get(server, downloader, tmp_path, "AF-P00974")


def test_what_was_fetched_can_be_searched(server, downloader, tmp_path):
    """A family of Pfam as the database, a sequence of UniProt as the query."""
    family = read_alignment(KUNITZ)
    write_alignment(family, tmp_path / "family.sto")
    stockholm = (tmp_path / "family.sto").read_bytes()
    query = f">sp|P00974|BPT1_BOVIN\n{family.query}\n"
    server.answers = {
        "/pfam/PF00014/?annotation=alignment:full": [Answer(stockholm)],
        "/uniprot/P00974.fasta": [Answer(query.encode())],
    }
    names = ("P00974", "PF00014.full")
    sequence, database = get(server, downloader, tmp_path / "out", *names)
    found = search(sequence, database)
    assert found.query == family.query and found.depth > 90


def test_models_of_isoforms_are_no_substitute(server, downloader, tmp_path):
    found = [{"entryId": "AF-P00974-2-F1", "cifUrl": "x"}]
    server.answers["/alphafold/P00974"] = [Answer(json.dumps(found).encode())]
    with pytest.raises(NotThere, match="no model AF-P00974-F1; it has AF-P00974-2-F1"):
        get(server, downloader, tmp_path, "AF-P00974")


def test_a_login_page_is_not_kept(server, downloader, tmp_path):
    server.answers[ENTRY] = [Answer(b"<html>Please log in"), Answer(PACKED)]
    with pytest.raises(BadInput, match="begins with '<html>.*login page"):
        get(server, downloader, tmp_path / "out", "1UBQ")
    assert names(tmp_path / "out") == []
    (path,) = get(server, downloader, tmp_path / "out", "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()


# --- The cache ------------------------------------------------------------------------------------


def test_what_was_fetched_needs_no_network(server, downloader, tmp_path):
    server.answers[ENTRY] = [Answer(PACKED)]
    get(server, downloader, tmp_path / "one", "1UBQ")
    server.answers[ENTRY] = [Answer(status=500)]
    (path,) = get(server, downloader, tmp_path / "two", "1ubq")
    assert path.read_bytes() == UBIQUITIN.read_bytes() and len(server.requests) == 1


@pytest.mark.parametrize("damage", ["changed", "shorter", "no record", "broken record"])
def test_a_damaged_cache_entry_is_noticed_and_fetched_again(
    server, downloader, tmp_path, said, damage
):
    server.answers[ENTRY] = [Answer(PACKED)]
    get(server, downloader, tmp_path / "out", "1UBQ")
    (data,) = (tmp_path / "cache").glob("*.cif.gz")
    record = data.with_name(data.name + ".json")
    whole = data.read_bytes()
    if damage == "changed":
        data.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    elif damage == "shorter":
        data.write_bytes(whole[:-1])
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text("{")
    (path,) = get(server, downloader, tmp_path / "out", "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes() and data.read_bytes() == whole
    assert len(server.requests) == 2 and "damaged" in said[0]
    get(server, downloader, tmp_path / "out", "1UBQ")
    assert len(server.requests) == 2
    assert names(tmp_path / "cache") == sorted([data.name, record.name])


# --- Errors that pass, and errors that do not -----------------------------------------------------


def test_errors_that_pass_are_tried_again_with_growing_pauses(
    server, downloader, tmp_path, waits, said
):
    server.answers[ENTRY] = [Answer(status=s) for s in (500, 503, 429, 502)] + [Answer(PACKED)]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes() and len(server.requests) == 5
    for number, wait in enumerate(waits):
        assert 0.5 * 2**number <= wait <= 1.5 * 2**number
    assert len(waits) == len(said) == 4 and "HTTP 500" in said[0] and "attempt 2" in said[0]


def test_pauses_are_not_the_same_twice(server, downloader, tmp_path, waits):
    server.answers[ENTRY] = [Answer(status=500)]
    for _ in range(2):
        with pytest.raises(BadInput):
            get(server, downloader, tmp_path, "1UBQ")
    assert len(waits) == 8 and len(set(waits)) == 8


def test_giving_up_says_what_happened(server, downloader, tmp_path):
    server.answers[ENTRY] = [Answer(status=503)]
    with pytest.raises(BadInput, match="HTTP 503 .*5 times; try again later"):
        get(server, downloader, tmp_path / "out", "1UBQ")
    assert len(server.requests) == 5 and names(tmp_path / "out") == []


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refusals_are_final(server, downloader, tmp_path, waits, status):
    server.answers[ENTRY] = [Answer(status=status)]
    with pytest.raises(BadInput, match=f"was refused: HTTP {status}"):
        get(server, downloader, tmp_path, "1UBQ")
    assert len(server.requests) == 1 and waits == []


def test_retry_after_is_honoured(server, downloader, tmp_path, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    server.answers[ENTRY] = [
        Answer(status=429, headers={"Retry-After": "17"}),
        Answer(status=503, headers={"Retry-After": date}),
        Answer(status=503, headers={"Retry-After": "soon"}),
        Answer(PACKED),
    ]
    get(server, downloader, tmp_path, "1UBQ")
    assert waits[0] == 17 and 35 < waits[1] <= 40 and 2 <= waits[2] <= 6


def test_a_wait_that_is_too_long_is_left_to_the_user(server, downloader, tmp_path, waits):
    server.answers[ENTRY] = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(BadInput, match="asks to wait 60 minutes; try again then"):
        get(server, downloader, tmp_path, "1UBQ")
    assert waits == []


def test_silence_is_noticed(server, tmp_path, waits, said):
    impatient = Downloader(tmp_path / "cache", timeout=0.2, say=said.append)
    server.answers[ENTRY] = [Answer(PACKED, sent=0, stall=2), Answer(PACKED)]
    (path,) = get(server, impatient, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes() and "no answer within 0.2 s" in said[0]
    server.answers["/uniprot/P00974.fasta"] = [Answer(b">x", sent=1, stall=2)]
    with pytest.raises(BadInput, match="no answer within 0.2 s, 5 times"):
        get(server, impatient, tmp_path, "P00974")
    assert not (tmp_path / "P00974.fasta").exists()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, downloader, tmp_path, status):
    server.answers[ENTRY] = [Answer(status=status, headers={"Location": "/moved/here"})]
    server.answers["/moved/here"] = [Answer(PACKED)]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()


@pytest.mark.parametrize("to", [ENTRY, "file:///etc/hostname"])
def test_redirects_that_lead_nowhere(server, downloader, tmp_path, to):
    server.answers[ENTRY] = [Answer(status=302, headers={"Location": to})]
    with pytest.raises(BadInput, match="was refused: HTTP 302") as error:
        get(server, downloader, tmp_path / "out", "1UBQ")
    assert "\n" not in str(error.value) and names(tmp_path / "out") == []


def test_no_network_is_said_in_one_line(tmp_path, monkeypatch, capsys, waits):
    def offline(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("MINIFOLD_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as error:
        main(["fetch", "1UBQ", "--out", str(tmp_path / "out")])
    assert error.value.code == 2 and waits == []
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "files.rcsb.org cannot be reached: no network" in message
    assert names(tmp_path / "out") == []


def test_nobody_listens(tmp_path, downloader, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(BadInput, match="the connection was refused, 5 times"):
            fetch(["1UBQ"], tmp_path, sources(url), downloader, quiet=True)


def test_folders_that_cannot_be_written(server, downloader, tmp_path, said):
    server.answers[ENTRY] = [Answer(PACKED)]
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(BadInput, match="cannot be written"):
        get(server, downloader, tmp_path / "taken", "1UBQ")
    with pytest.raises(BadInput, match="cannot be written"):
        get(server, Downloader(tmp_path / "taken"), tmp_path, "1UBQ")


# --- Broken off -----------------------------------------------------------------------------------


def test_a_truncated_download_is_continued(server, downloader, tmp_path, said):
    cut = len(PACKED) // 2
    server.answers[ENTRY] = [
        Answer(PACKED, etag='"v1"', sent=cut),
        Answer(PACKED, etag='"v1"', sent=100),
        Answer(PACKED, etag='"v1"'),
    ]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()
    asked = [headers.get("Range") for _, _, headers, _ in server.requests]
    assert asked == [None, f"bytes={cut}-", f"bytes={cut + 100}-"]
    assert f"{cut} of {len(PACKED)} bytes arrived" in said[0]
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_a_file_that_changed_meanwhile_is_not_mixed(server, downloader, tmp_path):
    new = gzip.compress(BPTI.read_bytes())
    server.answers[ENTRY] = [Answer(PACKED, etag='"v1"', sent=900), Answer(new, etag='"v2"')]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == BPTI.read_bytes()
    assert server.requests[1][2]["If-Range"] == '"v1"'


def test_the_date_of_a_file_serves_as_well(server, downloader, tmp_path):
    date = "Tue, 24 Nov 2026 07:00:00 GMT"
    server.answers[ENTRY] = [
        Answer(PACKED, headers={"Last-Modified": date, "ETag": 'W/"weak"'}, sent=900),
        Answer(PACKED),
    ]
    get(server, downloader, tmp_path, "1UBQ")
    assert server.requests[1][2]["If-Range"] == date


@pytest.mark.parametrize(
    "second",
    [
        Answer(PACKED, etag='"v1"', ranges=False),
        Answer(PACKED, etag='"v1"', headers={"Content-Range": "bytes 7-9/10"}),
        Answer(PACKED[:900], etag='"v1"'),  # answers 416
    ],
)
def test_servers_that_cannot_continue(server, downloader, tmp_path, second):
    first, last = Answer(PACKED, etag='"v1"', sent=900), Answer(PACKED, etag='"v1"')
    server.answers[ENTRY] = [first, second, last]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()


def test_another_part_than_was_asked_for_is_not_taken(server, downloader, tmp_path):
    wrong = {"Content-Range": f"bytes 10-49/{len(FASTA)}"}
    server.answers["/uniprot/P00974.fasta"] = [
        Answer(FASTA, etag='"v1"', sent=20),
        Answer(FASTA[10:50], 206, wrong, etag='"v1"', ranges=False),
        Answer(FASTA, etag='"v1"'),
    ]
    (path,) = get(server, downloader, tmp_path, "P00974")
    assert path.read_bytes() == FASTA


def test_the_tag_of_an_older_file_is_forgotten(server, downloader, tmp_path):
    new = FASTA.replace(b"M", b"A")
    server.answers["/uniprot/P00974.fasta"] = [
        Answer(FASTA, etag='"v1"', sent=20),
        Answer(new, sent=30),
        Answer(FASTA, etag='"v1"'),
    ]
    (path,) = get(server, downloader, tmp_path, "P00974")
    assert path.read_bytes() == FASTA and "Range" not in server.requests[2][2]


def test_without_a_tag_a_download_starts_again(server, downloader, tmp_path):
    server.answers[ENTRY] = [Answer(PACKED, sent=900), Answer(PACKED)]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()
    assert "Range" not in server.requests[1][2]


def test_a_gzip_file_that_is_cut_off_without_a_length_is_noticed(
    server, downloader, tmp_path, said
):
    server.answers[ENTRY] = [Answer(PACKED[:-20], length=False, etag='"v1"'), Answer(PACKED)]
    (path,) = get(server, downloader, tmp_path, "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes() and "cut off or damaged" in said[0]
    assert "Range" not in server.requests[1][2]


def test_ctrl_c_keeps_the_part_and_leaves_no_broken_file(server, downloader, tmp_path):
    cut = len(PACKED) // 2
    server.answers[ENTRY] = [
        Answer(PACKED, etag='"v1"', sent=cut, stall=30),
        Answer(PACKED, etag='"v1"'),
    ]
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "from minifold.data.fetch import Sources, fetch\n"
        f"fetch(['1UBQ'], {str(tmp_path / 'out')!r}, Sources(rcsb='{server.url}/pdb'))"
    )
    environment = {"MINIFOLD_CACHE": str(tmp_path / "cache"), "no_proxy": "127.0.0.1", "PATH": ""}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        assert server.half_way.wait(20)
        part = _wait_for(tmp_path / "cache", "*.part", cut)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert names(tmp_path / "out") == [] and not list((tmp_path / "cache").glob("*.gz"))
    assert part.read_bytes() == PACKED[:cut]
    (path,) = get(server, downloader, tmp_path / "out", "1UBQ")
    assert path.read_bytes() == UBIQUITIN.read_bytes()
    assert server.requests[1][2]["Range"] == f"bytes={cut}-"
    assert read_structure(path).name.upper() == "1UBQ"


def _wait_for(folder: Path, pattern: str, size: int) -> Path:
    """The file, as soon as it has that many bytes (the fixture replaces time.sleep)."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for path in folder.glob(pattern):
            if path.stat().st_size >= size:
                return path
    raise AssertionError("the partial file did not grow")


# --- Alignments -----------------------------------------------------------------------------------


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def state(**fields: str) -> Answer:
    return Answer(json.dumps(fields).encode())


UNIREF = b">101\nACDEFG\n>UniRef100_X\t80\t0.9\nACD-Fyy\n".replace(b"yy", b"yyG") + b"\0"
ENVIRONMENT = b">101\nACDEFG\n>SRR123\nACDWFG\n>SRR124\nACD-FG\n\0"


def test_the_alignment_server(server, downloader, tmp_path, waits):
    query = tmp_path / "query.fasta"
    query.write_text(">my|protein some words\nacdefg*\n")
    server.answers = {
        "/msa/ticket/msa": [state(status="RATELIMIT"), state(status="PENDING", id="t1")],
        "/msa/ticket/t1": [state(status="RUNNING", id="t1"), state(status="COMPLETE", id="t1")],
        "/msa/result/download/t1": [
            Answer(archive(bfd__a3m=ENVIRONMENT, uniref__a3m=UNIREF, msa__sh=b"#!/bin/sh"))
        ],
    }
    (path,) = align(query, tmp_path / "out", sources(server.url), downloader, quiet=True)
    assert path.name == "my_protein.a3m"
    found = read_alignment(path)
    assert found.names == ["my_protein", "UniRef100_X", "SRR123"]  # SRR124 repeats UniRef100_X
    assert found.query == "ACDEFG" and found.deletions[1].tolist() == [0, 0, 0, 0, 0, 2]
    method, _, headers, form = server.requests[0]
    assert method == "POST" and parse_qs(form.decode()) == {
        "q": [">101\nACDEFG\n"],
        "mode": ["env"],
    }
    assert [p for p in server.paths() if "t1" not in p] == ["/msa/ticket/msa"] * 2
    assert len(waits) == 3 and all(4 <= wait <= 6 for wait in waits)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"/msa/ticket/msa": [state(status="ERROR")]}, "could not align q .ERROR"),
        ({"/msa/ticket/msa": [state(status="MAINTENANCE")]}, "is being maintained"),
        ({"/msa/ticket/msa": [Answer(b"<html>")]}, "an answer of unknown form"),
        ({"/msa/ticket/msa": [Answer(b"[1]")]}, "an answer of unknown form"),
        ({"/msa/ticket/msa": [state(status="UNKNOWN")]}, "not done after 60 minutes"),
        ({"/msa/result/download/t1": [Answer(b"no archive")]}, "no tar archive"),
        ({"/msa/result/download/t1": [Answer(archive(x__txt=b"1"))]}, "has no alignment"),
        ({"/msa/result/download/t1": [Answer(archive(x__a3m=b"1"))]}, "the alignment of q:1"),
        (
            {"/msa/result/download/t1": [Answer(archive(x__a3m=b">1\nAC", y__a3m=b">1\nAD"))]},
            "not of the same sequence",
        ),
    ],
)
def test_an_alignment_server_that_fails(
    server, downloader, tmp_path, monkeypatch, waits, answers, says
):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 * len(waits))
    (tmp_path / "q.fasta").write_text(">q\nAC\n")
    server.answers = {"/msa/ticket/msa": [state(status="COMPLETE", id="t1")]} | answers
    with pytest.raises(BadInput, match=says) as error:
        align(tmp_path / "q.fasta", tmp_path / "out", sources(server.url), downloader, quiet=True)
    assert "\n" not in str(error.value) and names(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ACDEF\n", "expected '>'"),
        ("\n", "has no sequence"),
        (">a\nAC\n>a\nAD\n", "two sequences have the same name"),
        (">a\nAC\n>b\nA1\n", "b: '1' at position 2"),
    ],
)
def test_bad_queries_are_not_sent(server, downloader, tmp_path, text, says):
    (tmp_path / "q.fasta").write_text(text)
    with pytest.raises(BadInput, match=says):
        align(tmp_path / "q.fasta", tmp_path, sources(server.url), downloader, quiet=True)
    assert server.requests == []


# --- The command line -----------------------------------------------------------------------------


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as error:
        main(["fetch", *map(str, arguments)])
    return error.value.code


def test_command_line(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "PUBLIC", sources(server.url))
    server.answers[ENTRY] = [Answer(PACKED)]
    assert run("1UBQ", "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"files": [str(tmp_path / "out" / "1ubq.cif")]}
    assert names(tmp_path / "cache")
    assert run("9ZZZ", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.startswith("minifold: the PDB has no entry 9ZZZ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((), "nothing to fetch"), (("--from", "data"), "give --short-chains"), (("x",), "no form")],
)
def test_command_line_refusals(capsys, arguments, says):
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


def test_help_shows_every_form(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    for kind in KINDS:
        assert f"\n  {kind.example} " in text
    assert "public server" in text and "MINIFOLD_CACHE" in text
