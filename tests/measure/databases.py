#!/usr/bin/env python3
"""Postgres beside SQLite: requests a second and processor time for each, in one run (docs/performance.md, "Postgres").

    cargo build --profile quick && python3 tests/measure/databases.py target/quick/stowage [OTHER_BINARY]

Each binary serves the same instances from an index in SQLite and from one in Postgres (a cluster of its own, fsync on, on the
same processors). `wrk` throws away what it gets. All servers are asked in turn, five rounds; ratios are medians over rounds.
Processor time is that of the server and of all processes of Postgres. Needs `wrk`, and PostgreSQL's programs.
"""

import glob
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARIES = [os.path.abspath(path) for path in sys.argv[1:]]
ROUNDS, SECONDS, CLIENTS = 5, 2, 8
ROOT = "1.2.826.0.1.3680043.10.1338.7"
SLICES = 300
TICK = os.sysconf("SC_CLK_TCK")
FOLDER = tempfile.mkdtemp(prefix="stowage-databases")


def element(group, number, vr, value):
    value += (b"\0" if vr in (b"UI", b"OB", b"OW") else b" ") * (len(value) % 2)
    if vr in (b"OB", b"OW"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def slice_of(study, number, edge=64):
    short = lambda value: struct.pack("<H", value)
    kind, uid = b"1.2.840.10008.5.1.4.1.1.2", f"{ROOT}.{study}.1.{number}".encode()
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", kind) + element(2, 3, b"UI", uid)
    meta += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + element(2, 0x12, b"UI", ROOT.encode())
    data = element(8, 0x16, b"UI", kind) + element(8, 0x18, b"UI", uid) + element(8, 0x20, b"DA", b"20260101")
    data += element(8, 0x60, b"CS", b"CT") + element(0x10, 0x10, b"PN", f"Patient^{study}".encode())
    data += element(0x10, 0x20, b"LO", f"ID{study}".encode()) + element(0x20, 0xD, b"UI", f"{ROOT}.{study}".encode())
    data += element(0x20, 0xE, b"UI", f"{ROOT}.{study}.1".encode()) + element(0x20, 0x13, b"IS", str(number).encode())
    for tag, value in ((2, 1), (0x10, edge), (0x11, edge), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, 0)):
        data += element(0x28, tag, b"US", short(value))
        if tag == 2:
            data += element(0x28, 4, b"CS", b"MONOCHROME2")
    data += element(0x7FE0, 0x10, b"OW", bytes(edge * edge * 2))
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data


class Postgres:
    def __init__(self):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.folder = f"{FOLDER}/postgres"
        os.makedirs(self.folder)
        as_user = []
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
            os.chmod(FOLDER, 0o755)
            as_user = ["runuser", "-u", "postgres", "--"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        data = f"{self.folder}/data"
        subprocess.run([*as_user, f"{programs}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"], check=True, **quiet)
        options = ["-c", "listen_addresses=", "-c", "shared_buffers=256MB", "-k", self.folder]
        self.process = subprocess.Popen([*as_user, f"{programs}/postgres", "-D", data, *options], **quiet)
        while subprocess.run([f"{programs}/pg_isready", "-q", "-h", self.folder]).returncode:
            time.sleep(0.1)
        self.programs = programs

    def database(self, name):
        subprocess.run([f"{self.programs}/createdb", "-h", self.folder, "-U", "postgres", name], check=True)
        return f"postgres://postgres@localhost/{name}?host={self.folder}"

    def pids(self):
        listed = subprocess.run(["pgrep", "-f", "postgres"], capture_output=True, text=True).stdout
        return [int(pid) for pid in listed.split()]


def ticks(pid):
    try:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


class Server:
    def __init__(self, name, binary, url=None):
        self.name = name
        data = f"{FOLDER}/{name}"
        os.makedirs(data)
        environment = {
            **os.environ,
            "STOWAGE_DATA_DIR": data,
            "STOWAGE_LISTEN": "127.0.0.1:0",
            "STOWAGE_ADDRESS_FILE": f"{data}/address",
            "STOWAGE_LOG": "error",
            "STOWAGE_SCRUB_DAYS": "0",
        }
        if url:
            environment["STOWAGE_DATABASE_URL"] = url
        self.process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL)
        while not os.path.exists(f"{data}/address"):
            assert self.process.poll() is None, f"{name} ended"
            time.sleep(0.01)
        text = open(f"{data}/address").read().strip()
        self.url = text if text.startswith("http") else f"http://{text}"

    def store(self, files):
        body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files) + b"--x--\r\n"
        request = urllib.request.Request(f"{self.url}/dicom-web/studies", data=body, method="POST")
        request.add_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
        urllib.request.urlopen(request).read()

    def load(self, path, accept, pids):
        """Requests a second, and processor time of a request in ms."""
        before = sum(map(ticks, pids))
        script = f"{FOLDER}/accept.lua"
        with open(script, "w") as lua:
            lua.write(f'wrk.headers["Accept"] = [[{accept}]]\n')
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "-s", script, f"{self.url}{path}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Non-2xx" not in said, said
        count = int(re.search(r"(\d+) requests in", said).group(1))
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))
        return rate, (sum(map(ticks, pids)) - before) * 1000 / TICK / max(count, 1)


def main():
    postgres = Postgres()
    servers = []
    for number, binary in enumerate(BINARIES):
        servers.append((Server(f"sqlite{number}", binary), []))
        servers.append((Server(f"postgres{number}", binary, postgres.database(f"index{number}")), None))
    for server, _ in servers:
        server.store([slice_of(1, number) for number in range(1, SLICES + 1)])
        for study in range(2, 60):
            server.store([slice_of(study, 1)])
    series = f"/dicom-web/studies/{ROOT}.1/series/{ROOT}.1.1"
    instance = f"{series}/instances/{ROOT}.1.1.7"
    rows = [
        ("frame", f"{instance}/frames/1", 'multipart/related; type="application/octet-stream"'),
        ("instance", instance, "application/dicom"),
        ("instance metadata", f"{instance}/metadata", "application/dicom+json"),
        ("series metadata", f"{series}/metadata", "application/dicom+json"),
        ("QIDO by UID", f"/dicom-web/studies?StudyInstanceUID={ROOT}.30", "application/dicom+json"),
        ("QIDO by Patient ID", "/dicom-web/studies?PatientID=ID31", "application/dicom+json"),
        ("QIDO page of 25", "/dicom-web/studies?limit=25", "application/dicom+json"),
    ]
    for what, path, accept in rows:
        measured = {server.name: [] for server, _ in servers}
        for turn in range(ROUNDS + 1):
            for server, others in servers:
                pids = [server.process.pid, *(postgres.pids() if others is None else others)]
                result = server.load(path, accept, pids)
                if turn:
                    measured[server.name].append(result)
        line = [f"{what:18}"]
        for number in range(len(BINARIES)):
            sqlite, other = measured[f"sqlite{number}"], measured[f"postgres{number}"]
            ratio = statistics.median(b[0] / a[0] for a, b in zip(sqlite, other))
            middle = lambda values, at: statistics.median(value[at] for value in values)
            line.append(
                f"SQLite {middle(sqlite, 0):7.0f}/s {middle(sqlite, 1):.3f} ms, "
                f"Postgres {middle(other, 0):7.0f}/s {middle(other, 1):.3f} ms: {ratio:.2f}"
            )
        print("; ".join(line), flush=True)
    for server, _ in servers:
        server.process.kill()
    postgres.process.terminate()


try:
    main()
finally:
    subprocess.run(["pkill", "-f", FOLDER])
    time.sleep(0.5)
    shutil.rmtree(FOLDER, ignore_errors=True)
