"""The console: one table of pages and the frame around them.

The file is read twice. When the server starts it makes the ASGI application, with the door (sign-in) in front; for
every visitor it runs as Streamlit's script.
"""

from __future__ import annotations

import streamlit as st

from pages.components.server import door, warm_up
from pages.components.shell import PageEntry, register_at_start

PAGES = {
    "Observe": [
        PageEntry("pages/observe/overview.py", "Overview", ":material/monitoring:", "Spend, speed and errors", True),
        PageEntry("pages/observe/calls.py", "Calls", ":material/list_alt:", "Every call, one by one", True),
        PageEntry("pages/observe/batches.py", "Batches", ":material/stacks:", "Files of requests, done without haste"),
        PageEntry("pages/observe/spend.py", "Spend", ":material/payments:", "Where the money goes", True),
        PageEntry("pages/observe/latency.py", "Latency", ":material/timer:", "Where the time goes", True),
        PageEntry("pages/observe/playground.py", "Playground", ":material/forum:", "Ask up to three models at once"),
    ],
    "Tune": [
        PageEntry(
            "pages/tune/cache.py", "Cache", ":material/cached:", "What caches save, and how often they are wrong", True
        ),
        PageEntry("pages/tune/engine.py", "Engine", ":material/memory:", "Models on your own hardware", True),
        PageEntry("pages/tune/deployments.py", "Deployments", ":material/dns:", "Who answers for which model"),
        PageEntry("pages/tune/settings.py", "Settings", ":material/tune:", "Every knob, live"),
    ],
    "Govern": [
        PageEntry("pages/govern/changes.py", "Changes", ":material/history:", "Who changed what, when and why"),
        PageEntry("pages/govern/keys.py", "Keys", ":material/key:", "Who may call"),
    ],
}

if st.runtime.exists():
    from pages.components.frame import draw_frame  # caches exist only while the server runs

    draw_frame(PAGES)
else:
    register_at_start(PAGES)
    app = st.App(__file__, middleware=door(), lifespan=warm_up)
