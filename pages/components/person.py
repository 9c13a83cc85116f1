"""Who is at the console: signed in by password or OpenID Connect, or whoever sits at this machine."""

from __future__ import annotations

import streamlit as st

from pages.components.gate import Access
from pages.components.server import access
from pages.components.session import COOKIE

LOCAL = "local"


@st.cache_resource(show_spinner=False)
def _access() -> Access:
    return access()


def require_person() -> None:
    """Stop here until the visitor has signed in, where OpenID Connect is configured."""
    if not _access().oidc or st.user.is_logged_in:
        return
    with st.container(width=420, border=True, key="login"):
        st.title("Governor", anchor=False)
        st.caption("Sign in to the console.")
        for provider in _providers():
            label = f"Sign in with {provider}" if provider else "Sign in"
            st.button(label, type="primary", width="stretch", on_click=st.login, args=(provider,) if provider else ())
    st.stop()


def actor() -> str:
    """The name that changes made here are signed with."""
    found = _access()
    if found.oidc:
        return str(st.user.get("email") or st.user.get("name") or st.user.get("sub") or "console")
    if found.signer:
        return found.signer.read(st.context.cookies.get(COOKIE)) or "console"
    return LOCAL


def draw_person() -> None:
    """Who is signed in, with the way out; or that nobody needs to."""
    found = _access()
    if found.local_only:
        st.badge("No login: this machine only", icon=":material/lock_open:", color="gray")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="person"):
        st.markdown(":material/person:", width="content")
        st.text(actor(), width="stretch")
        if found.oidc:
            st.button("Sign out", type="tertiary", on_click=st.logout)
        else:
            st.html('<a href="/logout" target="_self">Sign out</a>', width="content")


def _providers() -> list[str | None]:
    named = [name for name, value in st.secrets["auth"].items() if hasattr(value, "items")]
    return [*named] if named else [None]
