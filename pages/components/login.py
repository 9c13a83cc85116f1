"""The sign-in page of the password login: plain HTML, no script, light and dark."""

from __future__ import annotations

from html import escape
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Governor</title>
<style>
:root{color-scheme:light dark;--back:#f3f5f9;--card:#fff;--text:#16202e;--soft:#5b6b82;--line:#dde3ec;--main:#2456d6;
--bad:#c62f2f}
@media (prefers-color-scheme:dark){
:root{--back:#0c1017;--card:#10151d;--text:#e6ebf3;--soft:#93a1b5;--line:#2b3544;--main:#3d6fea;--bad:#f47a7a}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--back);color:var(--text);
font:15px/1.5 system-ui,sans-serif}
form{width:min(360px,92vw);background:var(--card);border:1px solid var(--line);border-radius:10px;padding:28px}
h1{margin:0 0 2px;font-size:20px;font-weight:650}
p{margin:0 0 18px;color:var(--soft);font-size:14px}
p.error{color:var(--bad);margin:0 0 12px}
label{display:block;font-size:13px;color:var(--soft);margin:12px 0 4px}
input{width:100%;padding:9px 11px;border:1px solid var(--line);border-radius:6px;background:transparent;color:inherit;
font:inherit}
input:focus{outline:2px solid var(--main);outline-offset:-1px}
button{width:100%;margin-top:20px;padding:10px;border:0;border-radius:6px;background:var(--main);color:#fff;
font:inherit;font-weight:600;cursor:pointer}
</style></head><body>
<form method="post" action="/login">
<h1>Governor</h1><p>Sign in to the console.</p>$error
<input type="hidden" name="next" value="$target">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<label for="name">Your name, for the list of changes (optional)</label>
<input id="name" name="name" autocomplete="username" maxlength="64">
<button type="submit">Sign in</button>
</form></body></html>
""")


def write_login(target: str, error: str = "") -> str:
    """The page as HTML; ``target`` is where to go afterwards."""
    message = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return _PAGE.substitute(target=escape(target, quote=True), error=message)
