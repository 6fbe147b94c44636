"""docker/host: rules that udev reads, and a set-up that runs once, on a made-up computer."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker" / "host"
RULES = FOLDER / "99-widowx.rules"
KEYS = r"ACTION|KERNEL|SUBSYSTEM|ATTRS?\{[\w/]+\}|ENV\{\w+\}|GROUP|MODE|SYMLINK|TAG"


def test_every_line_of_the_rules_is_one_that_udev_reads() -> None:
    text = RULES.read_text()
    lines = [
        line.lstrip("#") for line in text.splitlines() if re.match(r"#?[A-Z]+[={]", line)
    ]  # the example as well
    assert len(lines) == 4
    for line in lines:
        assert all(
            re.fullmatch(rf'(?:{KEYS})(?:==|=|\+=|-=|!=|:=)"[^"]+"', part)
            for part in line.split(", ")
        ), line
        matches = re.findall(r'(\w+)(?:\{(\w+)\})?=="', line)
        assert ("SUBSYSTEM", "") in matches
        assert ("ATTRS", "idVendor") in matches
    for line in text.splitlines():
        assert line.startswith("#") or not line or 'MODE="0660"' in line, (
            "nothing for everybody"
        )


@pytest.mark.skipif(
    subprocess.run(
        ["udevadm", "verify", "--help"], capture_output=True, check=False
    ).returncode
    != 0
    if shutil.which("udevadm")
    else True,
    reason="udevadm verify comes with systemd 254",
)
def test_udev_itself_finds_nothing_wrong_with_the_rules() -> None:
    subprocess.run(["udevadm", "verify", str(RULES)], check=True, timeout=60)


STANDINS = {
    "udevadm": 'echo "udevadm $*" >>"$HOST/calls"',
    "sysctl": 'echo "sysctl $*" >>"$HOST/calls"',
    "usermod": 'echo "usermod $*" >>"$HOST/calls"; echo "$3" | tr , " " >>"$HOST/groups"',
    "getent": '[ "$2" != plugdev ] && echo "$2:x:104:"',  # a computer without that group
    "id": 'case $1 in -nG) tr "\\n" " " <"$HOST/groups" ;; -u) echo 0 ;; *) echo 1000 ;; esac',
}


class Host:
    """A made-up computer: its files below `root`, and commands that note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "root"
        (self.root / "run/udev").mkdir(parents=True)
        (self.root / "run/udev/control").touch()
        (folder / "bin").mkdir()
        (folder / "groups").write_text("dialout\n")
        (folder / "calls").touch()
        for tool in [
            "bash",
            "cat",
            "cmp",
            "cut",
            "dirname",
            "install",
            "rm",
            "tr",
            "uname",
        ]:
            (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
        for name, script in STANDINS.items():
            self.command(name, script)

    def command(self, name: str, script: str) -> None:
        (self.folder / "bin" / name).unlink(missing_ok=True)
        (self.folder / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (self.folder / "bin" / name).chmod(0o755)

    def set_up(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.folder / "bin"),
            "HOST": str(self.folder),
            "DESTDIR": str(self.root),
        }
        (self.folder / "calls").write_text("")
        command = [str(FOLDER / "setup"), *arguments]
        environment |= {"SUDO_USER": "ann", **variables}
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def files(self) -> dict[str, str]:
        return {
            str(file.relative_to(self.root)): file.read_text()
            for file in self.root.rglob("*")
            if file.is_file()
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_gets_the_rules_and_its_user_the_groups_once(host: Host) -> None:
    done = host.set_up()
    assert done.returncode == 0, done.stderr
    assert host.files()["etc/udev/rules.d/99-widowx.rules"] == RULES.read_text()
    assert host.calls() == [
        "udevadm control --reload-rules",
        "udevadm trigger --subsystem-match=tty --subsystem-match=hidraw",
        "usermod --append --groups video,input ann",
    ]
    assert "ann has to log out and in again" in done.stdout
    assert "PTR_UID=0 PTR_GID=1000 INPUT_GID=104" in done.stdout
    again = host.set_up()
    assert (again.returncode, host.calls()) == (0, [])
    assert "nothing to do" in again.stdout


def test_changed_rules_are_replaced(host: Host) -> None:
    host.set_up()
    (host.root / "etc/udev/rules.d/99-widowx.rules").write_text("# of an older version\n")
    host.set_up()
    assert host.files()["etc/udev/rules.d/99-widowx.rules"] == RULES.read_text()
    assert "udevadm control --reload-rules" in host.calls()


def test_a_dry_run_says_everything_and_does_nothing_without_root(host: Host) -> None:
    host.command("id", '[ "$1" = -nG ] && echo dialout || echo 1000')
    before = host.files()
    done = host.set_up("--dry-run", "--network")
    assert done.returncode == 0, done.stderr
    assert (host.files(), host.calls()) == (before, [])
    for word in (
        "99-widowx.rules",
        "udevadm trigger",
        "sysctl",
        "usermod --append --groups video,input ann",
    ):
        assert re.search(f"would run: .*{word}", done.stdout), word


def test_remove_undoes_it(host: Host) -> None:
    before = host.files()
    host.set_up("--network")
    done = host.set_up("--remove")
    assert done.returncode == 0, done.stderr
    assert host.files() == before
    assert host.calls()[0] == "udevadm control --reload-rules"
    assert "nothing to do" in host.set_up("--remove").stdout


def test_buffers_are_as_large_as_the_middleware_asks_for(host: Host) -> None:
    assert host.set_up("--network").returncode == 0
    profile = (ROOT / "config/fastdds.xml").read_text()
    asked = re.findall(r"<(?:send|receive)BufferSize>(\d+)<", profile)
    assert len(asked) == 2
    text = host.files()["etc/sysctl.d/60-widowx.conf"]
    for name in ("rmem_max", "wmem_max"):
        assert int(re.findall(rf"net.core.{name} = (\d+)", text)[0]) >= max(map(int, asked))
    assert any(call.startswith("sysctl --quiet --load") for call in host.calls())


@pytest.mark.parametrize(
    ("standins", "arguments", "message"),
    [
        ({"uname": "echo Darwin"}, [], "this is Darwin"),
        ({"id": "echo 1000"}, [], "this needs root: sudo docker/host/setup"),
        (
            {"id": '[ $# = 1 ] && [ "$1" = -u ] && echo 0'},
            ["--user", "bob"],
            "there is no user bob",
        ),
        ({}, ["--user"], "whose groups?"),
        ({}, ["--force"], "there is no argument --force; there are: --dry-run"),
        ({"udevadm": "exit 1"}, [], "this did not work: udevadm control"),
    ],
)
def test_what_is_in_the_way_is_named(
    host: Host, standins: dict[str, str], arguments: list[str], message: str
) -> None:
    for name, script in standins.items():
        host.command(name, script)
    done = host.set_up(*arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_container_is_told_to_use_its_host(host: Host) -> None:
    (host.root / "run/udev/control").unlink()
    done = host.set_up()
    assert (done.returncode, "run this on the host" in done.stderr) == (1, True)
