#!/usr/bin/env python3
"""Make what the lab needs: the tools' virtual environment, a running Docker and the lab's images.

Needs only Python's standard library. Says what it does; a second run does nothing that is done already.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LAB = REPOSITORY / "lab"
STATE = LAB / ".state"
VENV = REPOSITORY / ".venv"
TOOLS = REPOSITORY / ".cache" / "tools"
AXE = REPOSITORY / ".cache" / "axe-core"
LOCKED_AXE = REPOSITORY / "tests" / "browser"
LOCK = REPOSITORY / "requirements" / "dev.txt"
ROLE = REPOSITORY / "roles" / "openclaw"
CERTIFICATES = Path("/usr/local/share/ca-certificates")
PUBLIC_ROOT = "debian:bookworm-slim"
LABEL = "dualjoe.lab-image=1"
DOCKER_START_SECONDS = 60
# A mirror or proxy that this computer needs, handed on to the builds and kept out of the images.
HANDED_ON = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
)

Files = Mapping[str, bytes]


class BootstrapError(Exception):
    """Something a person has to put right. The message says what."""


def say(text: str) -> None:
    """Print at once, so that a long step is seen to begin."""
    print(text, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done, and at its end how long it took."""
    say(f"{what} ...")
    start = time.monotonic()
    yield
    say(f"  done in {time.monotonic() - start:.1f} s")


def run(command: Sequence[str | Path], *, data: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its output. On failure, raise with the last lines of what it said."""
    try:
        done = subprocess.run(
            command,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=REPOSITORY,
            check=False,
        )
    except FileNotFoundError as error:
        raise BootstrapError(f"{command[0]} is not installed") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        last = "\n".join("  | " + line for line in output.splitlines()[-25:])
        shown = " ".join(str(word) for word in command[:4])
        raise BootstrapError(f"'{shown} ...' failed with exit code {done.returncode}:\n{last}")
    return output


def works(command: Sequence[str]) -> bool:
    """Tell whether a command can be run and exits 0. Its output is dropped."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def is_debian() -> bool:
    """Tell whether packages can be had from Debian."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def apt_install(*packages: str) -> None:
    """Install Debian packages. Raises when this is no Debian or we are not root."""
    wanted = " ".join(packages)
    if not is_debian():
        raise BootstrapError(f"please install what Debian calls {wanted}, then run this again")
    if os.geteuid() != 0:
        raise BootstrapError(f"please run 'sudo apt-get install {wanted}', then run this again")
    with step(f"Installing {wanted}"):
        run(["apt-get", "update", "--quiet"])
        quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
        run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], env=quiet)


# The virtual environment


def venv() -> None:
    """Make .venv hold exactly what the lock file says."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    marker = VENV / ".lock-sha256"
    if marker.exists() and marker.read_text().strip() == wanted:
        return
    if VENV.is_symlink():  # of several trees: made anew by one, it would be gone under the others
        raise BootstrapError(
            f"{VENV} is a link, and what it leads to does not have this tree's lock; remove the link first"
        )
    if not works([sys.executable, "-c", "import ensurepip, venv"]):
        apt_install("python3-venv")
    with step("Installing the locked tools into .venv"):
        # Made anew: packages that left the lock must not stay.
        run([sys.executable, "-m", "venv", "--clear", VENV])
        run([VENV / "bin" / "pip", "install", "--quiet", "--require-hashes", "--requirement", LOCK])
        marker.write_text(wanted + "\n")


def promtool() -> None:
    """Have Prometheus's own checker in .cache/tools: Debian's package of it would start a server here."""
    kept = TOOLS / "promtool"
    if kept.exists() or shutil.which("promtool") is not None:
        return
    if not is_debian():
        raise BootstrapError("please install promtool, which comes with Prometheus, then run this again")
    with step("Fetching promtool"), tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            run(["apt-get", "update", "--quiet"])
        run(
            [
                "sh",
                "-c",
                'cd "$1" && apt-get download --quiet prometheus && dpkg-deb -x prometheus_*.deb .',
                "sh",
                folder,
            ]
        )
        TOOLS.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        shutil.copy2(Path(folder) / "usr/bin/promtool", partial)
        partial.replace(kept)


def tools() -> None:
    """Have the programs that the unit tests run: the real rsync and its restricted form, the real restic, promtool."""
    if shutil.which("rsync") is None or shutil.which("rrsync") is None:
        apt_install("rsync")
    if shutil.which("restic") is None:
        apt_install("restic")
    promtool()


def browser() -> None:
    """Have what the tests in tests/browser need: Chromium with its driver, npm, and the locked axe-core."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        apt_install("chromium", "chromium-driver", "fonts-dejavu-core")
    if shutil.which("npm") is None:
        apt_install("npm")
    lock, kept = LOCKED_AXE / "package-lock.json", AXE / "package-lock.json"
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        with step("Fetching axe-core"), tempfile.TemporaryDirectory() as folder:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(LOCKED_AXE / name, folder)
            run(["npm", "ci", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"])
            shutil.rmtree(AXE, ignore_errors=True)
            shutil.copytree(Path(folder) / "node_modules" / "axe-core", AXE)
            shutil.copy(lock, kept)  # last: it says that the rest is there


def peers() -> None:
    """Have the programs that bench/backup.py compares ours with."""
    tools()
    if shutil.which("rsnapshot") is None:
        apt_install("rsnapshot")


# Docker


def docker_answers() -> bool:
    """Tell whether a Docker daemon answers us."""
    return works(["docker", "version", "--format", "{{.Server.Version}}"])


def docker() -> None:
    """Leave with a Docker that answers."""
    if docker_answers():
        return
    if shutil.which("dockerd") is None:
        if not is_debian():
            raise BootstrapError(
                "Docker is missing. Install Docker Engine (docs.docker.com/engine/install), then run this again"
            )
        apt_install("docker.io", "iptables")
        if docker_answers():
            return
    if os.geteuid() != 0:
        raise BootstrapError(
            "Docker does not answer. Start it ('sudo systemctl start docker'), and see that your user may use it "
            "('sudo usermod -aG docker $USER', then log in again)"
        )
    with step("Starting Docker"):
        log = start_docker()
        deadline = time.monotonic() + DOCKER_START_SECONDS
        while not docker_answers():
            if time.monotonic() > deadline:
                raise BootstrapError(f"Docker did not start within {DOCKER_START_SECONDS} s; see {log}")
            time.sleep(0.5)


def start_docker() -> str:
    """Start Docker by systemd, or in the background where no systemd runs. Return where its log is."""
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "docker"])
        return "'journalctl -u docker'"
    STATE.mkdir(exist_ok=True)
    log = STATE / "dockerd.log"
    with log.open("ab") as output:
        subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    say(f"  no systemd here: dockerd runs in the background, its log is {log.relative_to(REPOSITORY)}")
    return str(log)


# Images


def image(name: str, tag: str = "latest") -> str:
    """The full name of one of the lab's images."""
    return f"dualjoe-lab/{name}:{tag}"


def image_id(reference: str) -> str | None:
    """The id of a local image, or None."""
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Id}}", reference], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def read(folder: Path, *names: str) -> dict[str, bytes]:
    """The named files of a folder, or all files below it."""
    if names:
        return {name: (folder / name).read_bytes() for name in names}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def digest(files: Files, *more: str) -> str:
    """A short hash of names, contents and whatever else decides what an image becomes."""
    total = hashlib.sha256()
    for part in [
        *more,
        *(piece for name in sorted(files) for piece in (name, hashlib.sha256(files[name]).hexdigest())),
    ]:
        total.update(part.encode() + b"\0")
    return total.hexdigest()[:16]


def context(files: Files) -> bytes:
    """A build context as a tar archive, with a folder for certificates even when there are none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("certificates")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def cached(name: str, key: str, make: Callable[[str], None]) -> str:
    """Have ``make`` build the image unless there is one of this key. Return its id."""
    reference = image(name, key)
    if image_id(reference) is None:
        with step(f"Building image {reference}"):
            make(reference)
    run(["docker", "tag", reference, image(name)])
    built = image_id(reference)
    if built is None:
        raise BootstrapError(f"Docker lost the image {reference} it has just built")
    return built


def build(name: str, files: Files, **arguments: str) -> str:
    """Build an image from a Dockerfile among ``files``. Return its id."""
    pairs = {**{key: os.environ[key] for key in HANDED_ON if os.environ.get(key)}, **arguments}
    flags = [word for key, value in pairs.items() for word in ("--build-arg", f"{key}={value}")]

    def make(reference: str) -> None:
        run(["docker", "build", "--label", LABEL, *flags, "--tag", reference, "-"], data=context(files))

    return cached(name, digest(files, *arguments.values()), make)


def root_image() -> str:
    """Debian to build on: the public image or, where no registry answers, one made from Debian's packages."""
    own = image("root", "bookworm")
    for known in (PUBLIC_ROOT, own):
        if image_id(known) is not None:
            return known
    with step(f"Looking for {PUBLIC_ROOT}"):
        pulled = works(["timeout", "300", "docker", "pull", "--quiet", PUBLIC_ROOT])
    if pulled:
        return PUBLIC_ROOT
    say("  no container registry answers: making Debian from its packages instead")
    if shutil.which("mmdebstrap") is None:
        apt_install("mmdebstrap")
    with step(f"Building image {own}"), tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "root.tar"
        run(["mmdebstrap", "--variant=apt", "--include=ca-certificates", "bookworm", archive])
        run(["docker", "import", archive, own])
    return own


def host_certificates() -> dict[str, bytes]:
    """The certificates an administrator added to this computer."""
    return {f"certificates/{path.name}": path.read_bytes() for path in sorted(CERTIFICATES.glob("*.crt"))}


def bake_gateway(base: str) -> str:
    """Run role openclaw's own installation in a container and keep the result as an image."""
    inputs = {**read(ROLE / "files"), **read(ROLE / "templates", "openclaw.j2"), **read(ROLE / "tasks", "install.yml")}
    inputs |= {
        f"{path.parent.name}.yml": path.read_bytes() for path in (ROLE / "defaults/main.yml", ROLE / "vars/main.yml")
    }

    def make(reference: str) -> None:
        container = run(["docker", "run", "--detach", "--init", base, "sleep", "3600"]).strip()
        handed_on = {key: os.environ[key] for key in HANDED_ON if os.environ.get(key)}
        settings = {
            "ansible_connection": "community.docker.docker",
            "ansible_python_interpreter": "/usr/bin/python3",
            "openclaw_environment": handed_on,
        }
        try:
            playbook: list[str | Path] = [VENV / "bin" / "ansible-playbook", "--inventory", f"{container},"]
            run([*playbook, "--extra-vars", json.dumps(settings), LAB / "images" / "gateway" / "bake.yml"])
            command = f"CMD {json.dumps(['/usr/local/sbin/lab-init'])}"
            run(["docker", "commit", "--change", command, "--change", "LABEL " + LABEL, container, reference])
        finally:
            run(["docker", "rm", "--force", "--volumes", container])

    return cached("gateway", digest(inputs, base), make)


def save_services(built: str) -> None:
    """Keep the services' image as a file that T440's own Docker can load."""
    archive, marker = STATE / "services.tar", STATE / "services.id"
    if archive.exists() and marker.exists() and marker.read_text() == built:
        return
    with step("Saving the services' image for T440"):
        partial = archive.with_suffix(".partial")
        run(["docker", "save", "--output", partial, image("services")])
        partial.replace(archive)
        marker.write_text(built)


def images() -> None:
    """Build all images of the lab."""
    if not docker_answers():
        raise BootstrapError("Docker does not answer; run 'lab/bootstrap.py docker' first")
    if not (VENV / "bin" / "ansible-playbook").exists():
        raise BootstrapError("there is no .venv; run 'lab/bootstrap.py venv' first")
    STATE.mkdir(exist_ok=True)
    root = root_image()
    base = build("base", {**read(LAB / "images" / "base"), **host_certificates()}, ROOT=root)
    build("t440", read(LAB / "images" / "t440"), BASE=base)
    standin = {**read(LAB / "images" / "standin"), **read(LAB / "standin", "openclaw")}
    build("standin", standin, BASE=base)
    build("telegram", {**read(LAB / "telegram"), **read(ROLE / "files", "node-requirements.txt")}, BASE=base)
    if (LAB / "services" / "Dockerfile").exists():
        save_services(build("services", read(LAB / "services"), BASE=base))
    bake_gateway(base)


COMMANDS: dict[str, Callable[[], None]] = {
    "venv": venv,
    "tools": tools,
    "browser": browser,
    "peers": peers,
    "docker": docker,
    "images": images,
}


def main() -> int:
    """Run the named commands in their order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS), nargs="+")
    try:
        for name in parser.parse_args().command:
            COMMANDS[name]()
    except BootstrapError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
