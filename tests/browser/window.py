"""Headless Chromium before the web page, which is served as on T440."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from web_site import Witness, site

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / ".cache/axe-core/axe.min.js"
PICTURES = ROOT / "docs/pictures"
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,1100",
)
DESK, PHONE = (1280, 1100), (360, 740)


class Browser:
    """What a person does and sees."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, *, dark: bool = False, size: tuple[int, int] = DESK) -> None:
        """Choose the colours and the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, url: str) -> None:
        """Go there, and forget what the console said of the page before, whose server may be gone."""
        self.driver.get("about:blank")
        self.complaints()
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    @property
    def words(self) -> str:
        """The text of the page, as it is shown."""
        return str(self.run("return document.body.innerText"))

    def complaints(self) -> list[str]:
        """What the browser's console says of errors, and since when."""
        return [str(line["message"]) for line in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def barriers(self) -> list[str]:
        """What axe-core finds in the way of people who do not see, or use no mouse: all that it calls serious."""
        self.run(AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        return [
            f"{each['id']}: {each['help']}: " + "; ".join(node["html"][:120] for node in each["nodes"])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    def picture(self, name: str, part: str | None = None) -> None:
        """Keep a picture for the docs, of all that is seen or one ``part``, where PICTURES=1 asks for it."""
        if os.environ.get("PICTURES") == "1":
            PICTURES.mkdir(exist_ok=True)
            size = "const r = document.getElementById(arguments[0]).getBoundingClientRect(); return r.toJSON()"
            clip = {**self.run(size, part), "scale": 1} if part else None
            options = {"captureBeyondViewport": True, "clip": clip} if clip else {}
            shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
            (PICTURES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that begins empty, and leaves nothing behind."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program, "chromium is missing: run `make browser`"
    assert driver, "chromedriver is missing: run `make browser`"
    assert AXE.exists(), "axe-core is missing: run `make browser`"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, Service(driver))
    chrome.set_script_timeout(60)
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()


class Shown:
    """The page of a state, and T440 behind it."""

    def __init__(self, url: str, witness: Witness, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self._witness = witness
        self._loop = loop

    def on_t440(self, change: Callable[[Witness], None]) -> None:
        """Something happens there."""

        async def apply() -> None:
            change(self._witness)

        asyncio.run_coroutine_threadsafe(apply(), self._loop).result(20)


class Host:
    """Serves states of the pair from a thread of its own, as the browser's driver blocks this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    @contextmanager
    def __call__(self, state: str, **settings: Any) -> Iterator[Shown]:
        """The page of a state; ``settings`` are the page's."""
        opened = site(self._folder, state, **settings)
        url, witness = self._on_loop(opened.__aenter__())
        try:
            yield Shown(url, witness, self._loop)
        finally:
            self._on_loop(opened.__aexit__(None, None, None))

    def close(self) -> None:
        self._on_loop(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _settle(self) -> None:
        """A look at the watchdog that was under way is answered, and nothing of it is left open."""
        await self._loop.shutdown_default_executor()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=10)

    def _on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)
