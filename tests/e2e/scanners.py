"""A real content scanner: Debian's c-icap with its virus_scan service and ClamAV's daemon, whose only signature is
EICAR's: so it starts at once, and knows nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.suite import wait_until

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + rb"ANTIVIRUS-TEST-FILE!$H+H*"
THREAT = "Eicar-Test-Signature.UNOFFICIAL"
"""How ClamAV calls what a database of one's own names."""
LIBRARY = next(Path("/usr/lib").glob("*/c_icap/virus_scan.so"), Path("/usr/lib/c_icap/virus_scan.so")).parent

needed = pytest.mark.skipif(
    not (shutil.which("c-icap") and shutil.which("clamd") and (LIBRARY / "virus_scan.so").exists()),
    reason="needs c-icap, libc-icap-mod-virus-scan and clamav-daemon",
)

CLAMD = """\
Foreground yes
LocalSocket {dir}/clamd.sock
DatabaseDirectory {dir}/database
TemporaryDirectory {dir}/tmp
StreamMaxLength 2000M
MaxFileSize 2000M
MaxScanSize 2000M
{user}
"""

C_ICAP = """\
PidFile {dir}/c-icap.pid
CommandsSocket {dir}/c-icap.ctl
Port 127.0.0.1:{port}
StartServers 1
MaxServers 1
MinSpareThreads 2
ThreadsPerChild 10
TmpDir {dir}/tmp
ModulesDir {library}
ServicesDir {library}
LoadMagicFile /etc/c-icap/c-icap.magic
TemplateDir /usr/share/c_icap/templates/
TemplateDefaultLanguage en
ServerLog {dir}/server.log
AccessLog {dir}/access.log
DebugLevel 1
Service echo srv_echo.so
Module common clamd_mod.so
clamd_mod.ClamdSocket {dir}/clamd.sock
Service antivirus_module virus_scan.so
ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE DOCUMENT GRAPHICS STREAM
virus_scan.DefaultEngine clamd
virus_scan.MaxObjectSize 2000M
"""


@dataclass
class Scanner:
    port: int
    dir: Path
    c_icap: subprocess.Popen[bytes]

    def url(self, service: str = "avscan") -> str:
        return f"icap://127.0.0.1:{self.port}/{service}"

    def asked(self) -> int:
        """How many requests it was sent."""
        log = self.dir / "access.log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@contextmanager
def scanner(directory: Path, port: int) -> Iterator[Scanner]:
    for name in ("database", "tmp"):
        (directory / name).mkdir()
    (directory / "database" / "eicar.ndb").write_text(f"Eicar-Test-Signature:0:*:{EICAR.hex()}\n")
    user = "User root" if os.getuid() == 0 else ""
    (directory / "clamd.conf").write_text(CLAMD.format(dir=directory, user=user))
    (directory / "c-icap.conf").write_text(C_ICAP.format(dir=directory, port=port, library=LIBRARY))
    with (directory / "log").open("wb") as log:
        clamd = subprocess.Popen(["clamd", "-c", str(directory / "clamd.conf")], stdout=log, stderr=log)
        try:
            wait_until((directory / "clamd.sock").exists, 30, f"clamd is up: {directory}/log")
            c_icap = subprocess.Popen(["c-icap", "-N", "-f", str(directory / "c-icap.conf")], stdout=log, stderr=log)
            try:
                wait_until((directory / "c-icap.ctl").exists, 30, f"c-icap is up: {directory}/log")
                yield Scanner(port, directory, c_icap)
            finally:
                c_icap.terminate()
                c_icap.wait(20)
        finally:
            clamd.terminate()
            clamd.wait(20)
