"""Signing in at an issuer by a code with PKCE: tokens in memory only, renewal, refusals, signing out; also by keys alone."""

import sys

from page import PATIENCE, URL, browser, check, expect, go, screen

ISSUER = sys.argv[2]


def nowhere(page):
    """Nothing that a token or a code begins with is in an address or kept by the browser."""
    kept = page.evaluate("async () => JSON.stringify([location.href, { ...localStorage }, { ...sessionStorage }, document.cookie, await indexedDB.databases(), await caches.keys()])")
    assert "eyJ" not in kept and "code" not in page.url and "verifier" not in kept, kept
    assert not [url for url in page.asked if "eyJ" in url]


with browser() as started:
    with screen(started, allowed=(ISSUER,)) as page:
        # Straight to a screen: it is there after signing in.
        go(page, "upload")
        button = page.get_by_role("button", name="Sign in at")
        expect(button).to_be_visible()
        check(page, "sign in at an issuer")
        button.focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="No").click()
        expect(page.get_by_role("alert")).to_contain_text("access_denied")
        assert "error" not in page.url
        button.focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Yes").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Upload")).to_be_visible()
        assert page.url == f"{URL}/ui/#/upload", page.url
        expect(page.locator(".who")).to_contain_text("ann")
        renewed = [url for url in page.asked if url == f"{ISSUER}/token"]
        assert len(renewed) == 2, renewed
        nowhere(page)
        page.get_by_role("button", name="Sign out").focus()
        # To the issuer, and back to a page that knows nobody; before it leaves, this one shows the button already.
        with page.expect_event("domcontentloaded", timeout=PATIENCE):
            page.keyboard.press("Enter")
        expect(button).to_be_visible()
        nowhere(page)
    with screen(started, allowed=(ISSUER,)) as page:
        # An answer that nobody here asked for.
        page.goto(f"{URL}/ui/?code=stolen&state=somebody")
        expect(page.get_by_role("alert").first).to_contain_text("does not belong to this attempt")
        assert page.url.startswith(f"{URL}/ui/#"), page.url
        assert not [url for url in page.asked if url.startswith(f"{ISSUER}/token")]
