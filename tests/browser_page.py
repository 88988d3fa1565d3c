#!/usr/bin/env python3
"""The page of a server as a browser shows it: tests/browser_page.py OXINETD FOLDER.

Headless Chromium is driven over its pipe (Chrome DevTools Protocol). What is wrong is said and
ends it. With OXINETD_SCREENSHOTS=FOLDER what was shown is kept there for people to look at."""

import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

DEADLINE = 120
SERVICES = 200


class Browser:
    """One page in a browser of its own."""

    def __init__(self, folder):
        for_it, self.to = os.pipe()
        self.answers, from_it = os.pipe()
        log = open(folder / "chromium.log", "wb")

        def arrange():
            # Where it expects them, whatever numbers they have.
            os.dup2(for_it, 103)
            os.dup2(from_it, 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", "--remote-debugging-pipe", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False, preexec_fn=arrange)
        os.close(for_it)
        os.close(from_it)
        self.rest, self.asked, self.events, self.session = b"", 0, [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **words):
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": words}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                piece = os.read(self.answers, 1 << 16)
                assert piece, "the browser has ended"
                self.rest += piece
            one, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(one)
            if answer.get("id") == self.asked:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, (expression, result)
        return result["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + DEADLINE
        while not (found := self.js(expression)):
            assert time.monotonic() < end, (expression, self.js("document.body.innerText")[:2000])
            time.sleep(0.1)
        return found

    def key(self, key, code):
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def screen(self, width, height, scheme, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def keep(self, name):
        if folder := os.environ.get("OXINETD_SCREENSHOTS"):
            shot = self.call("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot))

    def complaints(self):
        """What the page has done wrong in the browser's eyes: exceptions, and what the policy forbids."""
        wrong = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event.get("method") in wrong]

    def requests(self):
        self.js("1")
        return sum(event.get("method") == "Network.requestWillBeSent" for event in self.events)


class Server:
    def __init__(self, program, folder, port, text):
        config = folder / "inetd.conf"
        config.write_text(text)
        self.log = folder / "server.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [program, config, "--control", "none", "--page", str(port)], stdin=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + DEADLINE
        while f"ready pid={self.process.pid} " not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def end(self):
        self.process.kill()
        self.process.wait()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def visit(port):
    """A client that reads until the end."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
        try:
            while client.recv(4096):
                pass
        except ConnectionError:
            pass


def certificate(folder):
    """One that has expired: only the command of an authority can make such ones."""
    (folder / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\nnew_certs_dir={folder}\ndatabase={folder}/index\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\nx509_extensions=names\n[any]\ncommonName=supplied\n"
        "[names]\nsubjectAltName=DNS:old.example\n")
    (folder / "index").touch()

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=old.example", "-keyout", "key.pem", "-out", "asked.pem")
    openssl("ca", "-config", "ca.cnf", "-batch", "-notext", "-selfsign", "-keyfile", "key.pem", "-in", "asked.pem",
            "-startdate", "20240101000000Z", "-enddate", "20240201000000Z", "-out", "old.pem")
    return f"{folder}/old.pem {folder}/key.pem"


HOSTILE = ["<img src=x onerror=window.hurt=1>", "<script>window.hurt=1<", "\u202egnp.exe", "a&amp;b"]

STATE = "document.getElementById('state').textContent"
ROWS = "document.querySelectorAll('#services tbody tr')"


def main(program, folder):
    page, date, refusing, failing, behind, *many = free_ports(5 + SERVICES)
    user = "nobody" if os.geteuid() == 0 else "-"
    text = f"127.0.0.1:{date} stream tcp nowait {user} /bin/date date\n"
    text += f"127.0.0.1:{refusing} stream tcp nowait {user} /bin/date date\n    no_access = 127.0.0.1\n"
    text += f"127.0.0.1:{failing} stream tcp nowait {user} /nowhere/program program\n"
    text += f"127.0.0.1:{behind} stream tcp nowait {user} /bin/date date\n    tls = {certificate(folder)}\n"
    text += "".join(f'"{folder}/{name}" stream unix nowait - internal echo\n' for name in HOSTILE)
    text += "".join(f"127.0.0.1:{port} stream tcp nowait - internal echo\n    id = many-{n:03}\n" for n, port in enumerate(many))
    server = Server(program, folder, page, text)
    browser = Browser(folder)
    try:
        looked_at(browser, page, date, refusing, failing, behind)
        on_a_phone(browser)
        by_keyboard(browser)
        assert not browser.complaints(), browser.complaints()
        unseen(browser)
        server.end()
        browser.wait(f"{STATE}.startsWith('no answer since ')")
        assert browser.js("document.body.classList.contains('gone')")
        browser.keep("gone")
        server = Server(program, folder, page, text)
        browser.wait(f"{STATE} === 'serving'")
        assert not browser.js("document.body.classList.contains('gone')")
    finally:
        browser.process.kill()
        browser.process.wait()
        server.end()


def looked_at(browser, page, date, refusing, failing, behind):
    browser.screen(1200, 900, "light")
    browser.call("Page.navigate", url=f"http://localhost:{page}/")
    browser.wait(f"{ROWS}.length === {3 + len(HOSTILE) + SERVICES}")
    assert browser.js(STATE) == "serving"
    # Rates are of what comes while somebody looks.
    end = time.monotonic() + DEADLINE
    while not browser.js("document.querySelector('#services tbody path:last-child').getAttribute('d').includes('L')"):
        assert time.monotonic() < end
        visit(date)
        visit(refusing)
    shown = browser.wait("document.getElementById('refusals').hidden ? '' : document.body.innerText")
    for words in (f"{failing}/tcp not served: ", f"{behind}/tcp certificate ended ", "access", "/nowhere/program"):
        assert words in shown.replace("\n", " "), (words, shown[:2000])
    # Names are shown as what they are, and do nothing.
    for name in (*HOSTILE[:2], HOSTILE[3], "\\u{202e}gnp.exe"):
        assert name in shown, (name, shown[:2000])
    assert "\u202e" not in shown
    assert browser.js("window.hurt === undefined && !document.querySelector('img, #services script')")
    # Who looks at the peers sees who was here.
    browser.js("document.querySelector('summary').click()")
    browser.wait(f"document.querySelector('#peers tbody').innerText.includes('{date}/tcp')")
    browser.js("document.querySelector('summary').click()")
    browser.keep("desktop")


def on_a_phone(browser):
    grounds = set()
    for scheme in ("light", "dark"):
        browser.screen(360, 740, scheme, 2)
        browser.wait("innerWidth === 360")
        assert browser.js("document.documentElement.scrollWidth") == 360
        grounds.add(browser.js("getComputedStyle(document.body).backgroundColor"))
        browser.keep(f"phone-{scheme}")
    assert len(grounds) == 2, grounds
    browser.screen(1200, 900, "dark")
    browser.keep("dark")


def by_keyboard(browser):
    browser.js("document.activeElement.blur()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="/", code="Slash", text="/")
    assert browser.js("document.activeElement.id") == "filter"
    browser.call("Input.insertText", text="many-01")
    browser.wait(f"{ROWS}.length === 10")
    browser.keep("filtered")
    # On to the first head of the table: sorted by name, upwards and downwards.
    browser.key("Tab", 9)
    first = f"{ROWS}[0].innerText"
    orders = []
    for order in ("ascending", "descending"):
        browser.key("Enter", 13)
        assert browser.js("document.activeElement.parentNode.getAttribute('aria-sort')") == order
        orders.append(browser.js(first))
    assert orders[0] != orders[1], orders
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # A row tells more, and the focus stays on it when the next answer comes.
    browser.js(f"{ROWS}[0].querySelector('button').focus()")
    browser.key("Enter", 13)
    assert "internal" in browser.wait("document.querySelector('.more dl').innerText")
    before = browser.requests()
    browser.wait("document.activeElement.getAttribute('aria-expanded') === 'true'")
    end = time.monotonic() + DEADLINE
    while browser.requests() < before + 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert browser.js("document.activeElement.getAttribute('aria-expanded')") == "true"


def unseen(browser):
    """Nobody looks at the page: the server is left alone, until somebody does."""
    look = "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {} }});" \
        "document.dispatchEvent(new Event('visibilitychange'))"
    browser.js(look.format("true"))
    # The one that was to come comes, and no other.
    time.sleep(3)
    before = browser.requests()
    time.sleep(5)
    assert browser.requests() == before
    browser.js(look.format("false"))
    end = time.monotonic() + DEADLINE
    while browser.requests() < before + 2:
        assert time.monotonic() < end
        time.sleep(0.1)


main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve())
