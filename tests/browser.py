"""Headless Chromium for the tests: real mouse and keys, console messages, pictures.

It speaks the browser's own DevTools protocol: JSON messages, each ended by a zero byte, over two
pipes, which Chromium expects as file descriptors 3 (in) and 4 (out).

    with Browser(tmp_path) as page:
        page.open(path)
        page.press("Tab"); page.click("#button")
        assert page.run("document.title") == "…" and page.complaints == []
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)"
)
FLAGS = """--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-quic
--no-first-run --disable-background-networking --disable-component-update --disable-sync
--remote-debugging-pipe""".split()
# Puts the two pipes where Chromium looks for them, then becomes Chromium.
LAUNCH = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(x), fcntl.F_DUPFD, 10) for x in sys.argv[1:3]]
os.dup2(ours[0], 3), os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {  # name: code, which
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
    "Home": ("Home", 36),
    "End": ("End", 35),
    " ": ("Space", 32),
    "Escape": ("Escape", 27),
}
SECONDS = 60.0  # patience


class Browser:
    """One page in a headless Chromium; ``complaints`` are its console messages and exceptions."""

    def __init__(self, folder: Path, width: int = 1200, height: int = 900, dark: bool = False):
        self.complaints: list[str] = []
        self._buffer, self._number = b"", 0
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [sys.executable, "-c", LAUNCH, str(to_browser), str(from_browser), CHROMIUM]
        self._process = subprocess.Popen(
            [*command, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session: str | None = None
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        attached = self._send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")
        self.resize(width, height)
        self.scheme(dark)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_) -> None:
        try:
            self._session = None
            self._send("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    # --- What a user does -------------------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._send("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def scheme(self, dark: bool) -> None:
        """What the page sees as prefers-color-scheme."""
        value = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self._send("Emulation.setEmulatedMedia", features=features)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click an element at fractions of its width and height."""
        at = self._at(selector, x, y)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of an element and release it at another."""
        first, last = (self._at(selector, *point) for point in (start, end))
        steps = (("mouseMoved", first), ("mousePressed", first), ("mouseMoved", last))
        for kind, at in (*steps, ("mouseReleased", last)):
            held = {"button": "left", "buttons": 1, "clickCount": 1} if at is last else {}
            held = {"button": "left", "clickCount": 1} if kind == "mousePressed" else held
            self._send("Input.dispatchMouseEvent", type=kind, **held, **at)

    def hover(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        self._send("Input.dispatchMouseEvent", type="mouseMoved", **self._at(selector, x, y))

    def press(self, key: str, times: int = 1, shift: bool = False) -> None:
        """Press a key as a user would; it goes to the element that has the focus."""
        code, which = KEYS[key]
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self._send(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=code,
                    windowsVirtualKeyCode=which,
                    modifiers=8 if shift else 0,
                )

    # --- What a test asks -------------------------------------------------------------------------

    def keep_downloads(self, folder: Path) -> None:
        """What the page downloads from now on goes into a folder."""
        self._send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's after it is kept."""
        answer = self._send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", answer))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = SECONDS) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"not true within {seconds} s: {condition}; {self.complaints}")
            time.sleep(0.05)

    def picture(self, path: Path, whole: bool = True) -> None:
        """Write a PNG of the page, all of it or what the window shows."""
        answer = self._send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    # --- The protocol -----------------------------------------------------------------------------

    def _at(self, selector: str, x: float, y: float) -> dict[str, float]:
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x, b.y, b.width, b.height]; }})(document.querySelector({selector!r}))"
        )
        return {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}

    def _send(self, method: str, **parameters) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            answer = self._receive(end, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _receive(self, end: float, method: str) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._in, 1 << 16) if ready else b""
            if not part:
                raise TimeoutError(f"no answer from chromium to {method}")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(line)

    def _note(self, event: dict) -> None:
        """Keep what the page wrote to the console, but not the graphics driver's words on speed."""
        method, values = event.get("method"), event.get("params", {})
        text = ""
        if method == "Runtime.consoleAPICalled":
            text = " ".join(str(a.get("value", a.get("description"))) for a in values["args"])
        elif method == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
        elif method == "Log.entryAdded":
            text = values["entry"]["text"]
        if text and "GL Driver Message" not in text:
            self.complaints.append(text)
