"""Opens a report and a served run in headless Chromium: console, keyboard, search, narrow windows, accessibility.

Usage: check_pages.py THINKLOOM RUN_DIRECTORY PICTURES_DIRECTORY

Needs Chromium (its path in CHROMIUM, or on PATH) and the packages playwright and axe-playwright-python. Fails on any
message on the console, any request to another host, any text of the run executed as markup, and any breach that axe finds.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

WIDTHS = (390, 820, 1400)


def require(condition, message):
    if not condition:
        raise SystemExit(f"breach: {message}")


def watch(page, told):
    page.on("console", lambda message: told.append(f"console: {message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("requestfailed", lambda request: told.append(f"failed: {request.url}"))


def until(page, expression, *argument):
    """Waits for an expression to hold; asks from outside, for the pages' security policy forbids to evaluate texts inside."""
    for _ in range(100):
        if page.evaluate(expression, *argument):
            return
        time.sleep(0.1)
    raise SystemExit(f"breach: never true: {expression}")


def check(page, url, name, pictures):
    """Goes through one page, at every width and in both colour schemes."""
    told, hosts = [], set()
    watch(page, told)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2] if "//" in request.url else ""))
    started = time.monotonic()
    page.goto(url)
    page.wait_for_selector("#list button")
    first_page_ms = (time.monotonic() - started) * 1000
    require(page.evaluate("scrollY") == 0, f"{name}: the page scrolls by itself")
    total = page.inner_text("#told")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            require(wide <= width, f"{name}: {wide} pixels wide in a window of {width}")
            page.screenshot(path=str(pictures / f"{name}-{width}-{scheme}.png"), full_page=True)
        found = Axe().run(page).response["violations"]
        breaches = [f"{one['id']}: {one['help']}: {one['nodes'][0]['target']}" for one in found]
        require(not breaches, f"{name}, {scheme}: axe: {breaches}")
    # By keyboard alone: to the search, to a hit, to the next query.
    page.keyboard.press("/")
    require(page.evaluate("document.activeElement.id") == "search", f"{name}: / does not lead to the search")
    first = page.locator("#list button span").first.inner_text()
    page.keyboard.type(first)
    until(page, "text => document.querySelector('#list button span')?.innerText === text", first)
    page.fill("#search", "no query says this, ever")
    until(page, "document.getElementById('told').innerText === 'no query matches'")
    page.fill("#search", "")
    until(page, "text => document.getElementById('told').innerText === text", total)
    page.locator("#list button").first.focus()
    page.keyboard.press("j")
    until(page, "document.querySelectorAll('#list button')[1]?.getAttribute('aria-current') === 'true'")
    until(page, "document.querySelectorAll('#list button')[1].querySelector('span').innerText === document.querySelector('#story h3').innerText")
    page.select_option("#outcome", "think_on")
    until(page, "t => document.getElementById('told').innerText !== t", total)
    require(page.evaluate("document.querySelectorAll('main script, main img, main iframe, main a').length") == 0, f"{name}: markup from a text")
    require(page.evaluate("window.hostile === undefined"), f"{name}: a text was run as a script")
    require(not told, f"{name}: {told}")
    print(f"ok: {name}: {total}; first page after {first_page_ms:.0f} ms; hosts asked: {sorted(host for host in hosts if host)}")


def main(program, run, pictures):
    pictures = Path(pictures)
    pictures.mkdir(parents=True, exist_ok=True)
    report = (pictures / "report.html").resolve()
    subprocess.run([program, "report", run, "-o", report], check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen([program, "view", run, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        served = server.stdout.readline().split()[0]
        with sync_playwright() as driver:
            executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            for name, url in (("report", report.as_uri()), ("view", served)):
                page = browser.new_page()
                check(page, url, name, pictures)
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
