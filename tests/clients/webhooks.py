"""What receivers got, checked by the packages that receivers use: PyPI's `standardwebhooks` and `cloudevents`.

    webhooks.py SECRET < MESSAGES        one JSON object a line: {"headers": {…}, "body": "…"}

Prints type, subject and id of each event. Stops with a status other than 0 at the first message that is not what it says.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = sys.argv[1]
seen = 0
for line in sys.stdin:
    message = json.loads(line)
    headers, body = message["headers"], message["body"]
    verified = Webhook(SECRET).verify(body, headers)
    # A byte more, another id, another secret: none is taken.
    for changed, by in ((body + " ", headers), (body, {**headers, "webhook-id": "msg_other"})):
        try:
            Webhook(SECRET).verify(changed, by)
        except WebhookVerificationError:
            continue
        sys.exit(f"a changed message is taken: {line}")
    event = from_http_event(HTTPMessage({"content-type": headers["content-type"]}, body.encode()))
    assert event.get_specversion() == "1.0" and event.get_source() and event.get_time(), event
    assert event.get_data() == verified["data"], event
    assert len(body) < 20_000, len(body)
    print(event.get_type(), event.get_subject(), event.get_id())
    seen += 1
assert seen, "no message"
