"""A worklist driven by what PS3.18 chapter 11 says, and nothing else: performers with requests, subscribers with websockets.

    worklist.py rules URL               subscribes in every way and checks what each subscriber is told
    worklist.py failover URL [URL]      three performers and two subscribers while a node goes; says HALF, waits for GO and URLs
"""

import itertools
import json
import sys
import threading
import time
import uuid

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ALL = "1.2.840.10008.5.1.4.34.5"
FILTERED = "1.2.840.10008.5.1.4.34.5.1"
TYPES = {1: "state", 2: "cancel", 3: "progress", 4: "service", 5: "assigned"}
PATIENCE = 60


def new_uid():
    return f"2.25.{uuid.uuid4().int}"


def code(value):
    return {
        "00080100": {"vr": "SH", "Value": [value]},
        "00080102": {"vr": "SH", "Value": ["99TEST"]},
        "00080104": {"vr": "LO", "Value": [f"meaning of {value}"]},
    }


def sequence(*items):
    return {"vr": "SQ", "Value": list(items)}


def workitem(label="worklist", **more):
    item = {
        "00404005": {"vr": "DT", "Value": ["20260401083000"]},
        "00404041": {"vr": "CS", "Value": ["INCOMPLETE"]},
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["MEDIUM"]},
        "00741202": {"vr": "LO", "Value": [label]},
        "00741204": {"vr": "LO", "Value": ["Segment"]},
    }
    item.update(more)
    return item


def performed():
    step = {
        "00404019": sequence(code("SEG")),
        "00404028": sequence(code("STATION")),
        "00404033": {"vr": "SQ"},
        "00404050": {"vr": "DT", "Value": ["20260401090000"]},
        "00404051": {"vr": "DT", "Value": ["20260401091000"]},
    }
    return {"00741216": sequence(step)}


class Worklist:
    """The service, at one of several nodes."""

    def __init__(self, urls):
        self.urls = list(urls)
        self.session = requests.Session()

    def send(self, method, path, body=None, expect=200):
        headers = {"Accept": "application/dicom+json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/dicom+json"
            data = json.dumps([body])
        url = f"{self.urls[0]}/dicom-web{path}"
        answer = self.session.request(method, url, headers=headers, data=data, timeout=PATIENCE)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def create(self, item, uid=None):
        uid = uid or new_uid()
        self.send("POST", f"/workitems?{uid}", item, 201)
        return uid

    def update(self, uid, changes, transaction=None):
        query = f"?{transaction}" if transaction else ""
        self.send("POST", f"/workitems/{uid}{query}", changes)

    def state(self, uid, state, transaction, expect=200):
        body = {
            "00081195": {"vr": "UI", "Value": [transaction]},
            "00741000": {"vr": "CS", "Value": [state]},
        }
        self.send("PUT", f"/workitems/{uid}/state", body, expect)

    def subscribe(self, uid, aet, query="", expect=201):
        answer = self.send("POST", f"/workitems/{uid}/subscribers/{aet}{query}", expect=expect)
        if expect == 201:
            where = answer.headers["Content-Location"]
            assert where.startswith("ws://") and where.endswith(f"/subscribers/{aet}"), where
            return where

    def unsubscribe(self, uid, aet, expect=200):
        self.send("DELETE", f"/workitems/{uid}/subscribers/{aet}", expect=expect)

    def channel(self, aet, query=""):
        return f"{self.urls[0].replace('http', 'ws', 1)}/dicom-web/subscribers/{aet}{query}"


def value(event, tag):
    values = event.get(tag, {}).get("Value", [None])
    return values[0]


def told(event):
    """What an event says, in short."""
    kind = TYPES[value(event, "00001002")]
    assert value(event, "00000002") == "1.2.840.10008.5.1.4.34.6.1", event
    assert 0 <= value(event, "00000110") < 65536, event
    if kind == "state":
        return kind, value(event, "00741000"), value(event, "00404041")
    if kind == "progress":
        return kind, value(value(event, "00741002"), "00741004")
    if kind == "cancel":
        return kind, value(event, "00741236"), value(event, "00741238")
    if kind == "assigned":
        return kind, value(value(event, "00404025") or {}, "00080100")
    return kind, value(event, "00741242")


class Subscriber:
    """An open channel."""

    def __init__(self, url):
        self.url = url
        self.socket = connect(url, open_timeout=PATIENCE, max_size=None)
        self.last = None

    def next(self, patience=PATIENCE):
        text = self.socket.recv(timeout=patience)
        assert isinstance(text, str)
        event = json.loads(text)
        number = value(event, "00771001")
        assert self.last is None or number > self.last, f"{number} behind {self.last}"
        self.last = number
        return event

    def expect(self, *wanted):
        """The next events are these, each a workitem and what is told of it."""
        for uid, *what in wanted:
            event = self.next()
            found = (value(event, "00001000"), *told(event))
            assert found == (uid, *what), f"{found} instead of {(uid, *what)}"

    def close(self):
        self.socket.close()


def rules(url):
    service = Worklist([url])
    # Before anybody subscribes nothing is told.
    old = service.create(workitem("AI"))
    one = Subscriber(service.channel("ONE"))
    service.subscribe(new_uid(), "ONE", expect=404)
    service.subscribe(old, "A" * 17, expect=400)
    service.subscribe(old, "ONE", "?deletionlock=perhaps", expect=400)
    service.unsubscribe(old, "ONE", expect=404)
    service.subscribe(old, "ONE")
    one.expect((old, "state", "SCHEDULED", "INCOMPLETE"))
    # Again is told again, with whatever lock.
    service.subscribe(old, "ONE", "?deletionlock=true")
    one.expect((old, "state", "SCHEDULED", "INCOMPLETE"))

    # To all: without a lock nothing at the beginning, with one a report of each that was not subscribed to.
    everything, locking = Subscriber(service.channel("ALL")), Subscriber(service.channel("LOCK"))
    service.subscribe(ALL, "ALL")
    service.subscribe(ALL, "LOCK", "?deletionlock=true")
    locking.expect((old, "state", "SCHEDULED", "INCOMPLETE"))
    service.subscribe(FILTERED, "AI", expect=400)
    service.subscribe(FILTERED, "AI", "?filter=nonsense.nonsense=1,00741202=", expect=201)
    service.unsubscribe(FILTERED, "AI")
    filtered, older = Subscriber(service.channel("AI")), Subscriber(service.channel("OLDER"))
    service.subscribe(FILTERED, "AI", "?filter=WorklistLabel=AI,00741200=MEDIUM")
    service.subscribe(FILTERED, "OLDER", "?WorklistLabel=AI&deletionlock=true")
    older.expect((old, "state", "SCHEDULED", "INCOMPLETE"))

    # A new workitem, with the station that shall do it.
    new = service.create(workitem("other", **{"00404025": sequence(code("CT1"))}))
    beginning = [(new, "state", "SCHEDULED", "INCOMPLETE"), (new, "assigned", "CT1")]
    for channel in (everything, locking):
        channel.expect(*beginning)

    # What changes is told to whom it concerns.
    ready = {"00404041": {"vr": "CS", "Value": ["READY"]}}
    service.update(old, ready)
    service.update(old, {"00741204": {"vr": "LO", "Value": ["nobody is told of a label"]}})
    performer = {"00404009": sequence(code("DOE")), "00404037": {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}}
    service.update(old, {"00404034": sequence(performer)})
    claim = new_uid()
    service.state(old, "IN PROGRESS", claim)
    half = {"00741004": {"vr": "DS", "Value": [50]}, "00741006": {"vr": "ST", "Value": ["half"]}}
    service.update(old, {"00741002": sequence(half)}, claim)
    reason = {"00741238": {"vr": "LT", "Value": ["too late"]}, "00741236": {"vr": "AE", "Value": ["DESK"]}}
    service.send("POST", f"/workitems/{old}/cancelrequest", reason, 202)
    service.update(old, performed(), claim)
    service.state(old, "COMPLETED", claim)
    changes = [
        (old, "state", "SCHEDULED", "READY"),
        (old, "assigned", None),
        (old, "state", "IN PROGRESS", "READY"),
        (old, "progress", 50),
        (old, "cancel", "DESK", "too late"),
        (old, "state", "COMPLETED", "READY"),
    ]
    for channel in (one, everything, locking, filtered, older):
        channel.expect(*changes)

    # What nobody has begun is canceled by way of IN PROGRESS; the filter did not let it through.
    service.send("POST", f"/workitems/{new}/cancelrequest", expect=202)
    canceled = [
        (new, "cancel", "UNKNOWN", None),
        (new, "state", "IN PROGRESS", "INCOMPLETE"),
        (new, "state", "CANCELED", "INCOMPLETE"),
    ]
    for channel in (everything, locking):
        channel.expect(*canceled)

    # Suspended: nothing of new workitems, all of those before.
    kept = service.create(workitem("AI"))
    for channel in (everything, locking, filtered, older):
        channel.expect((kept, "state", "SCHEDULED", "INCOMPLETE"))
    for target, aet in ((ALL, "ALL"), (FILTERED, "AI")):
        service.send("POST", f"/workitems/{target}/subscribers/{aet}/suspend")
        service.send("POST", f"/workitems/{target}/subscribers/{aet}/suspend", expect=404)
    service.send("POST", f"/workitems/{kept}/subscribers/ONE/suspend", expect=400)
    later = service.create(workitem("AI"))
    service.update(kept, ready)
    for channel in (everything, filtered):
        channel.expect((kept, "state", "SCHEDULED", "READY"))
    for channel in (locking, older):
        channel.expect((later, "state", "SCHEDULED", "INCOMPLETE"), (kept, "state", "SCHEDULED", "READY"))

    # Ended: nothing more; the next event of another subscription shows it.
    service.unsubscribe(ALL, "ALL")
    service.unsubscribe(ALL, "ALL", expect=404)
    service.update(kept, {"00404041": {"vr": "CS", "Value": ["INCOMPLETE"]}})
    service.subscribe(later, "ALL")
    everything.expect((later, "state", "SCHEDULED", "INCOMPLETE"))

    # Whoever comes back is sent what came since: by number, or else behind what was sent before.
    filtered.expect((kept, "state", "SCHEDULED", "INCOMPLETE"))
    number = filtered.last
    filtered.close()
    wait_for_end(service, filtered)
    service.update(kept, ready)
    claim = new_uid()
    service.state(kept, "IN PROGRESS", claim)
    missed = [(kept, "state", "SCHEDULED", "READY"), (kept, "state", "IN PROGRESS", "READY")]
    for query in ("", f"?since={number}", f"?since={number}"):
        again = Subscriber(service.channel("AI", query))
        again.expect(*missed)
        again.close()
    all_of_it = Subscriber(service.channel("OLDER", "?since=0"))
    all_of_it.expect((old, "state", "SCHEDULED", "INCOMPLETE"), *changes)
    for query, status in (("?since=999999", 400), ("?since=x", 400)):
        refused(service.channel("OLDER", query), status)
    # Nobody is told a Transaction UID.
    answer = requests.get(f"{url}/dicom-web/subscribers/ONE", timeout=PATIENCE)
    assert answer.status_code == 400, answer.status_code


def wait_for_end(service, subscriber):
    """The channel ended where it was served when what was sent is remembered: a new one begins behind it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        again = Subscriber(subscriber.url)
        try:
            again.next(0.3)
        except TimeoutError:
            again.close()
            return
        again.close()
    raise AssertionError("the channel did not end")


def refused(url, status):
    try:
        connect(url, open_timeout=PATIENCE).close()
    except Exception as error:  # noqa: BLE001
        assert str(status) in str(error), error
        return
    raise AssertionError(f"{url} was opened")


def failover(urls):
    """Three performers work through a worklist; two subscribers, at different nodes, see each change once and in order."""
    service = Worklist(urls)
    nodes = itertools.cycle(urls)
    service.subscribe(ALL, "WATCH1")
    service.subscribe(FILTERED, "WATCH2", "?filter=WorklistLabel=EVEN")
    uids = [service.create(workitem("EVEN" if n % 2 == 0 else "ODD")) for n in range(12)]
    seen = {"WATCH1": [], "WATCH2": []}
    gone, alive = threading.Event(), threading.Event()

    def watch(aet, node):
        last = None
        while True:
            query = "" if last is None else f"?since={last}"
            try:
                subscriber = Subscriber(Worklist([node]).channel(aet, query))
                while True:
                    event = subscriber.next()
                    last = subscriber.last
                    if told(event)[0] == "service":
                        continue
                    seen[aet].append((value(event, "00001000"), told(event)[1]))
                    if done(aet):
                        return
            except (ConnectionClosed, OSError, EOFError):
                assert alive.wait(PATIENCE)
                node = service.urls[0]

    def done(aet):
        ended = sum(1 for _, state in seen[aet] if state == "COMPLETED")
        return ended == (12 if aet == "WATCH1" else 6)

    claimed = []

    def perform(number):
        for at, uid in enumerate(uids):
            if at == 6:
                barrier.wait(PATIENCE)
                assert alive.wait(PATIENCE)
            own = Worklist([next(nodes) if at < 6 else service.urls[number % len(service.urls)]])
            transaction = new_uid()
            try:
                own.state(uid, "IN PROGRESS", transaction)
            except AssertionError as error:
                assert " 409 " in str(error), error
                continue
            claimed.append(uid)
            own.update(uid, performed(), transaction)
            own.state(uid, "COMPLETED", transaction)

    barrier = threading.Barrier(4)
    failures = []

    def run(work, *arguments):
        def guarded():
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001
                failures.append(f"{work.__name__}{arguments}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    threads = [run(watch, "WATCH1", urls[0]), run(watch, "WATCH2", urls[-1])]
    threads += [run(perform, number) for number in range(3)]
    barrier.wait(PATIENCE)
    print("HALF", flush=True)
    gone.set()
    line = sys.stdin.readline().split()
    assert line[0] == "GO", line
    service.urls = line[1:]
    alive.set()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), f"{failures} {seen}"
    assert not failures, failures
    assert sorted(claimed) == sorted(uids), "each workitem is claimed once"
    for aet, wanted in (("WATCH1", uids), ("WATCH2", uids[::2])):
        for uid in wanted:
            states = [state for about, state in seen[aet] if about == uid]
            assert states == ["SCHEDULED", "IN PROGRESS", "COMPLETED"], f"{aet} {uid}: {states}"
        assert len(seen[aet]) == 3 * len(wanted), seen[aet]


if __name__ == "__main__":
    if sys.argv[1] == "rules":
        rules(sys.argv[2])
    else:
        failover(sys.argv[2:])
    print("DONE", flush=True)
