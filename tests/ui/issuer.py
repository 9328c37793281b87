"""An issuer of tokens for the story of signing in: OpenID Connect, authorization code with PKCE (RFC 7636), and nothing else.

`python issuer.py SECRET` prints its address. It asks one question on its page, whatever the name of who answers.
"""

import base64
import hashlib
import hmac
import html
import http.server
import json
import secrets
import sys
import time
import urllib.parse

SECRET = sys.argv[1].encode()
CLIENT = "page"
AUDIENCE = "stowage"
asked = {}
renewals = set()


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims):
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{encoded(hmac.digest(SECRET, signed.encode(), 'sha256'))}"


class Issuer(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, kind="application/json", **headers):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        # The page runs elsewhere.
        for name, value in {"Content-Type": kind, "Access-Control-Allow-Origin": "*", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        if path == "/.well-known/openid-configuration":
            return self.answer(200, {"issuer": URL, "authorization_endpoint": f"{URL}/authorize", "token_endpoint": f"{URL}/token", "end_session_endpoint": f"{URL}/leave"})
        if path == "/authorize":
            good = query.get("response_type") == "code" and query.get("client_id") == CLIENT and query.get("code_challenge_method") == "S256" and len(query.get("code_challenge", "")) == 43 and query.get("state") and query.get("nonce")
            if not good:
                return self.answer(400, "bad request", "text/plain")
            code = secrets.token_urlsafe()
            asked[code] = query
            back = lambda **more: html.escape(f"{query['redirect_uri']}?{urllib.parse.urlencode({'state': query['state'], 'iss': URL, **more})}")
            return self.answer(200, f"<!doctype html><html lang=en><title>Issuer</title><a href='{back(code=code)}'>Yes</a> <a href='{back(error='access_denied')}'>No</a>", "text/html")
        if path == "/leave":
            return self.answer(302, "", "text/plain", Location=query["post_logout_redirect_uri"])
        return self.answer(404, "nothing", "text/plain")

    def do_POST(self):
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        now = int(time.time())
        claims = {"iss": URL, "sub": "ann", "aud": AUDIENCE, "roles": ["globalAdmin"], "iat": now}
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") in renewals:
            renewals.remove(form["refresh_token"])
            return self.answer(200, {"access_token": token(**claims, exp=now + 600), "token_type": "Bearer"})
        query = asked.pop(form.get("code"), None)
        if not query or form.get("redirect_uri") != query["redirect_uri"] or encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != query["code_challenge"]:
            return self.answer(400, {"error": "invalid_grant"})
        renewal = secrets.token_urlsafe()
        renewals.add(renewal)
        # Its token is too old already: the page has to renew it.
        return self.answer(200, {"access_token": token(**claims, exp=now - 600), "token_type": "Bearer", "refresh_token": renewal, "id_token": token(iss=URL, sub="ann", aud=CLIENT, nonce=query["nonce"], exp=now + 600)})

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
URL = f"http://127.0.0.1:{server.server_port}"
print(URL, flush=True)
server.serve_forever()
