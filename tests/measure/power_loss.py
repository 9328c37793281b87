#!/usr/bin/env python3
"""A power loss under load, on real file systems (docs/reliability.md, "Power loss").

    cargo build --profile quick && python3 tests/measure/power_loss.py target/quick/stowage [ROUNDS] [KIND ...]

Each round mounts an image of its own, lets six clients store small and larger instances through the server, and shuts the file
system down in the middle of it: the ioctl of ext4 and XFS throws away what is in memory alone, as a power loss does. After the
next mount every acknowledged instance must be there with its bytes. Then the index is rebuilt from the blobs alone: it must
have every acknowledged instance, and no instance with other bytes than were sent. Needs root, `mkfs.ext4` and `mkfs.xfs`.
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

BINARY = os.path.abspath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
KINDS = sys.argv[3:] or ["ext4", "xfs"]
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2
CLIENTS = 6
ROOT = "1.2.826.0.1.3680043.10.1338.9"


def element(group, number, vr, value):
    value += (b"\0" if vr in (b"UI", b"OB", b"OW") else b" ") * (len(value) % 2)
    if vr in (b"OB", b"OW"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def dicom(study, instance, pixels):
    kind, uid = b"1.2.840.10008.5.1.4.1.1.66", f"{study}.1.{instance}".encode()
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", kind) + element(2, 3, b"UI", uid)
    meta += element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + element(2, 0x12, b"UI", ROOT.encode())
    data = element(8, 0x16, b"UI", kind) + element(8, 0x18, b"UI", uid) + element(8, 0x60, b"CS", b"OT")
    data += element(0x10, 0x20, b"LO", b"power") + element(0x20, 0xD, b"UI", study.encode())
    data += element(0x20, 0xE, b"UI", f"{study}.1".encode()) + element(0x42, 0x11, b"OB", pixels)
    length = element(2, 0, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + data


class Server:
    def __init__(self, data, command=()):
        self.address = f"{data}/address-{random.random()}"
        settings = {
            "STOWAGE_DATA_DIR": data,
            "STOWAGE_LISTEN": "127.0.0.1:0",
            "STOWAGE_ADDRESS_FILE": self.address,
            "STOWAGE_LOG": "error",
        }
        self.environment = {**os.environ, **settings}

    def start(self):
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen([BINARY], env=self.environment, stdout=quiet, stderr=quiet)
        while not os.path.exists(self.address):
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.01)
        text = open(self.address).read().strip()
        self.url = text if text.startswith("http") else f"http://{text}"
        return self

    def run(self, *arguments):
        done = subprocess.run([BINARY, *arguments], env=self.environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def get(self, uid):
        study, series = uid.rsplit(".", 2)[0], uid.rsplit(".", 1)[0]
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        path = f"/v2/studies/{study}/series/{series}/instances/{uid}"
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=accept)) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            assert error.code == 404, f"{uid}: {error.code}"
            return None


def client(server, number, sent, acknowledged, seed):
    chance = random.Random(seed)
    for count in range(100_000):
        study = f"{ROOT}.{number}.{count // 3}"
        uid = f"{study}.1.{count}"
        sent[uid] = dicom(study, count, chance.randbytes(chance.choice([10, 4_000, 300_000])))
        request = urllib.request.Request(f"{server.url}/v2/studies", data=sent[uid], method="POST")
        request.add_header("Content-Type", "application/dicom")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                if answer.status == 200:
                    acknowledged.append(uid)
        except OSError:
            return


def one_round(kind, folder, seed):
    image, mount = f"{folder}/{kind}.img", f"{folder}/mount"
    os.makedirs(mount, exist_ok=True)
    with open(image, "w") as made:
        made.truncate(1 << 30)
    subprocess.run([f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", image], check=True)
    attach = lambda: subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    detach = lambda: subprocess.run(["umount", mount], check=True)
    attach()
    server = Server(f"{mount}/data").start()
    sent, acknowledged = {}, []
    clients = [
        threading.Thread(target=client, args=(server, number, sent, acknowledged, seed * 100 + number))
        for number in range(1, CLIENTS + 1)
    ]
    for one in clients:
        one.start()
    time.sleep(random.Random(seed).uniform(0.5, 3))
    opened = os.open(mount, os.O_RDONLY)
    fcntl.ioctl(opened, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
    os.close(opened)
    promised = list(acknowledged)
    server.process.kill()
    server.process.wait()
    for one in clients:
        one.join()
    detach()
    attach()

    def compare(what):
        server = Server(f"{mount}/data").start()
        lost = [uid for uid in promised if server.get(uid) != sent[uid]]
        found = {uid: server.get(uid) for uid in sent}
        wrong = [uid for uid, data in found.items() if data not in (None, sent[uid])]
        server.process.terminate()
        server.process.wait()
        assert not lost, f"{kind}, {what}: lost {lost[:3]} of {len(promised)}"
        assert not wrong, f"{kind}, {what}: other bytes {wrong[:3]}"
        return sum(data is not None for data in found.values())

    there = compare("the index")
    for name in os.listdir(f"{mount}/data"):
        if ".sqlite" in name:
            os.remove(f"{mount}/data/{name}")
    code, said = Server(f"{mount}/data").run("reindex")
    again = compare("the index made anew")
    detach()
    return len(promised), there, again, said.strip().splitlines()[-1] if said.strip() else code


def main():
    folder = tempfile.mkdtemp(prefix="stowage-power-loss")
    try:
        for kind in KINDS:
            all_promised = unacknowledged = 0
            for seed in range(ROUNDS):
                promised, there, again, said = one_round(kind, folder, seed)
                all_promised += promised
                unacknowledged += there - promised
                print(f"{kind} {seed}: {promised} acknowledged, {there} there, {again} in the index made anew; {said}", flush=True)
            print(f"{kind}: {ROUNDS} power losses, {all_promised} acknowledged, 0 lost, {unacknowledged} more there")
    finally:
        subprocess.run(["umount", f"{folder}/mount"], stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


main()
