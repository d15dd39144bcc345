"""Files from the network: kept, checked, tried again, taken up where they broke off.

``Downloader.file`` returns the path of a cached file. Its SHA-256 is compared each time it is
used, so a damaged file is fetched again. What arrives goes into a ``.part`` file; it gets its name
only when it is complete, and a part that was left behind is continued with a Range request,
provided that the server says that the file is still the same.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from minifold import __version__
from minifold.data.files import write_bytes, write_text
from minifold.errors import BadInput

T = TypeVar("T")
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass
NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
LONGEST_WAIT = 300.0  # s; a server that asks for more is not waited for
CHUNK = 1 << 16
GZIP = b"\x1f\x8b"


class NotThere(BadInput):
    """The server answered, and has no such thing (404, 410, or no content)."""


class Incomplete(Exception):
    """Less arrived than was announced, or a gzip file that is cut off."""


def default_cache() -> Path:
    """MINIFOLD_CACHE, or the folder minifold in the user's cache folder."""
    if folder := os.environ.get("MINIFOLD_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minifold"


@dataclass(frozen=True)
class Downloader:
    """Gets things over HTTP.

    Args:
        cache: folder for what was fetched.
        attempts: how often the same request is sent before giving up.
        timeout: seconds without a byte after which an attempt has failed.
        pause: seconds before the second attempt; doubled with each further one, times 0.5 to 1.5
            by chance, so that many clients do not come back at the same moment. A server's
            Retry-After counts if it is longer.
        say: called with one line when an attempt fails or a cached file is damaged.
        bar: whether a download of more than two seconds shows a progress bar.
    """

    cache: Path
    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0
    say: Callable[[str], None] = lambda line: None
    bar: bool = False

    def file(self, url: str, starts: tuple[bytes, ...] = ()) -> Path:
        """The cached copy of a file; fetched if there is none, or if it is damaged.

        Args:
            url: http or https.
            starts: what the (unpacked) content must begin with, one of these.

        Raises:
            NotThere: the server has no such file.
            BadInput: it cannot be fetched, or is something else.
        """
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(urlsplit(url).path).name)
        path = self.cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
        record = path.with_name(path.name + ".json")
        if path.is_file():
            if _matches(path, record):
                return path
            self.say(f"{path} is damaged; fetching it again")
            path.unlink()
        part = path.with_name(path.name + ".part")
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            data = self._repeat(url, lambda: self._continue(url, part))
            if starts and not unpacked(data).strip():
                part.unlink()
                raise NotThere(f"{url} is empty")
            if starts and not unpacked(data).lstrip().startswith(starts):
                part.unlink()
                raise BadInput(
                    f"{url} is something else than expected: it begins with "
                    f"{unpacked(data).lstrip()[:20].decode(errors='replace')!r}; "
                    "is there a login page in between?"
                )
            about = {"url": url, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            write_text(record, json.dumps(about) + "\n")
            os.replace(part, path)
        except OSError as error:
            raise BadInput(f"{path} cannot be written: {error.strerror or error}") from None
        _validator_file(part).unlink(missing_ok=True)
        return path

    def get(self, url: str, starts: tuple[bytes, ...] = ()) -> bytes:
        """The content of ``file``, unpacked if it is gzip."""
        return unpacked(self.file(url, starts).read_bytes())

    def ask(self, url: str, form: bytes | None = None) -> bytes:
        """An answer that is not kept: GET, or POST with a form.

        Raises:
            NotThere: the server has nothing to answer.
            BadInput: there is no answer.
        """

        def once() -> bytes:
            with self._open(url, {}, form) as response:
                return response.read()

        return self._repeat(url, once)

    def _open(self, url: str, headers: Mapping[str, str], form: bytes | None = None):
        if urlsplit(url).scheme not in ("http", "https"):
            raise BadInput(f"{url}: only http and https addresses can be fetched")
        agent = {"User-Agent": f"minifold/{__version__}"}
        response = urlopen(Request(url, form, {**agent, **headers}), timeout=self.timeout)
        if response.status == 204:
            response.close()
            raise NotThere(f"{_host(url)} found nothing")
        return response

    def _continue(self, url: str, part: Path) -> bytes:
        """One attempt: append to the partial file, or start it anew."""
        validator = _validator_file(part)
        done = part.stat().st_size if part.is_file() and validator.is_file() else 0
        headers = {}
        if done:
            headers = {"Range": f"bytes={done}-", "If-Range": validator.read_text()}
        try:
            response = self._open(url, headers)
        except HTTPError as error:
            if error.code != 416:  # the part is as long as the file, or longer
                raise
            part.unlink()
            raise Incomplete("the part kept from before does not fit") from None
        with response:
            if not (done and response.status == 206):
                done = 0
                part.unlink(missing_ok=True)
                _remember_validator(response.headers, validator)
            elif _first_byte(response.headers) != done:
                part.unlink()
                raise Incomplete("the server sent another part than was asked for")
            length = response.headers.get("Content-Length")
            total = None if length is None else done + int(length)
            with part.open("ab") as file, self._progress(part, done, total) as bar:
                while chunk := response.read1(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
        data = part.read_bytes()
        if total is not None and len(data) < total:
            raise Incomplete(f"{len(data)} of {total} bytes arrived")
        try:
            unpacked(data)
        except (EOFError, OSError, zlib.error):
            part.unlink()
            raise Incomplete("the gzip file is cut off or damaged") from None
        return data

    def _progress(self, part: Path, done: int, total: int | None) -> tqdm:
        name = part.name.split("-", 1)[1].removesuffix(".part")
        return tqdm(
            desc=name,
            initial=done,
            total=total,
            unit="B",
            unit_scale=True,
            delay=2.0,
            leave=False,
            disable=not self.bar,
        )

    def _repeat(self, url: str, attempt: Callable[[], T]) -> T:
        """The result of an attempt; after failures that may pass, of a later one."""
        for number in range(1, self.attempts + 1):
            asked = 0.0
            try:
                return attempt()
            except HTTPError as error:
                if error.code in (404, 410):
                    raise NotThere(f"{url} is not there (HTTP {error.code})") from None
                if error.code not in TRY_AGAIN:
                    raise BadInput(f"{url} was refused: {_state(error)}") from None
                problem, asked = _state(error), _retry_after(error.headers)
            except (URLError, http.client.HTTPException, Incomplete, OSError) as error:
                problem = _explain(error, url, self)
            if asked > LONGEST_WAIT:
                raise BadInput(
                    f"{_host(url)} asks to wait {asked / 60:.0f} minutes; try again then"
                )
            if number < self.attempts:
                wait = max(self.pause * 2 ** (number - 1) * random.uniform(0.5, 1.5), asked)
                self.say(f"{_host(url)}: {problem}; attempt {number + 1} in {wait:.1f} s")
                time.sleep(wait)
        raise BadInput(f"{url}: {problem}, {self.attempts} times; try again later")


def _explain(error: Exception, url: str, downloader: Downloader) -> str:
    """What failed, for a failure that may pass.

    Raises:
        BadInput: it will not pass: no network, an untrusted certificate, a full disk.
    """
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, socket.gaierror) or getattr(cause, "errno", None) in NO_NETWORK:
        raise BadInput(
            f"{_host(url)} cannot be reached: no network, it seems; what was fetched before is in "
            f"{downloader.cache} and needs none"
        ) from None
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise BadInput(f"{_host(url)}: its certificate is not trusted by this machine") from None
    if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
        raise BadInput(f"{downloader.cache} cannot be written: {cause.strerror}") from None
    if isinstance(cause, TimeoutError):
        return f"no answer within {downloader.timeout:g} s"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    return str(cause) or type(cause).__name__


def _state(error: HTTPError) -> str:
    return f"HTTP {error.code} {' '.join(str(error.reason).split())}"


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _matches(path: Path, record: Path) -> bool:
    """Whether a cached file is still what was fetched."""
    try:
        wanted = json.loads(record.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == wanted


def unpacked(data: bytes) -> bytes:
    """What is in a gzip file; other data as they are."""
    return gzip.decompress(data) if data.startswith(GZIP) else data


def _validator_file(part: Path) -> Path:
    """Holds what tells whether the file on the server is still the same."""
    return part.with_name(part.name + ".etag")


def _remember_validator(headers: Message, file: Path) -> None:
    """Keep the strong ETag or the date of a response; without one nothing can be resumed."""
    tag = headers.get("ETag", "")
    value = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
    if value:
        write_bytes(file, value.encode())
    else:
        file.unlink(missing_ok=True)


def _first_byte(headers: Message) -> int | None:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _retry_after(headers: Message) -> float:
    """Seconds that the server asks to wait: a number or a date; 0 without or with nonsense."""
    value = (headers.get("Retry-After") or "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
