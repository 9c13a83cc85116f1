"""Labelled questions from ../shared/data: support questions with entities, and short questions of 150 intents."""

from __future__ import annotations

import csv
import gzip
import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

# What the label does not say, but the answer depends on: within one intent, only questions with the same aspects are
# taken to deserve the same answer.
_ASPECTS = {
    "change_order": ["add|missed|forgot", "remov|delet", "item|article|product|something"],
    "contact_customer_service": ["number|phone|free", "mail", "hour|time|when|available|hors|open"],
    "newsletter_subscription": ["cancel|cnacel|unsu|cqncel", "status|check|see", "receiv"],
    "recover_password": [r"\bpin", "key|code", "lost|forgot|stolen|remember"],
    "review": ["servic|srvic", "product", "company|business", "address|section|method|mail"],
    "delivery_options": ["from", r"\bto\b", "place|order", "ship|deliver"],
    "check_refund_policy": ["case|situation|circumstance|when|casxes", "guarant|garant", "servic|charge|product"],
    "create_account": ["wife", "bride", "daughter", "son", "father", "fianc", "user"],
    "delete_account": ["user", "profile", "use"],
    "edit_account": ["user", "profile"],
    "payment_issue": ["solv", "card|declin", "transfer", "make|pay "],
    "set_up_shipping_address": ["second", "differ|another|other", "invalid|valid"],
    "complaint": ["against|company|business|organi|brand"],
    "track_order": ["eta|estimated|arriv|when|long", "current|status|track|locat"],
    "track_refund": ["process", "status|check|track", "expect|wait"],
    "registration_problems": ["creat|open"],
    "check_cancellation_fee": ["contract"],
    "place_order": ["several|some|items|articles|products", "order"],
    "cancel_order": ["afford|pay"],
    "get_invoice": ["send|mail|e-mail", "lost"],
    "check_invoice": ["lost", "purchase"],
}
_ALWAYS = [
    "problem|issue|error|trouble|mistake|wrong|question",
    r"n't\b|\bnot\b|\bcannot\b|\bcant\b|\bdont\b|longer|never",
    "month|year|week|today|yesterday|ago|last|first",
    r"\bone\b|\btwo\b|three|four|five|six|seven|eight|nine|ten\b|eleven|twelve",
]
_DIGITS = re.compile(r"\d+")

# Intents of the second set whose questions name nothing that an answer depends on.
_PLAIN = """
are_you_a_bot what_is_your_name how_old_are_you who_made_you where_are_you_from meaning_of_life flip_coin
do_you_have_pets what_are_your_hobbies who_do_you_work_for what_can_i_ask_you pto_balance pto_request_status
pto_used credit_score credit_limit improve_credit_score rewards_balance report_lost_card card_declined
replacement_card_duration lost_luggage payday w2 direct_deposit next_holiday user_name sync_device unsync_device
find_phone whisper_mode next_song tire_pressure last_maintenance oil_change_when mpg gas order_checks tell_joke
fun_fact damaged_card international_fees jump_start min_payment bill_due insurance todo_list shopping_list
"""
PLAIN_INTENTS = frozenset(_PLAIN.split())

# Intents that overlap: nobody could say of every pair across them that it deserves two answers.
_OVERLAPS = (
    {"get_invoice", "check_invoice"},
    {"registration_problems", "create_account"},
    {"contact_customer_service", "contact_human_agent", "make_call"},
    {"edit_account", "switch_account", "change_user_name"},
    {"get_refund", "track_refund"},
    {"pto_balance", "pto_request", "pto_request_status", "pto_used"},
    {"shopping_list", "shopping_list_update", "todo_list", "todo_list_update"},
    {"restaurant_suggestion", "restaurant_reviews", "meal_suggestion", "recipe"},
    {"freeze_account", "account_blocked", "report_fraud", "report_lost_card"},
    {"thank_you", "goodbye", "greeting", "yes", "no", "maybe", "cancel", "repeat"},
    {"are_you_a_bot", "what_is_your_name", "change_ai_name", "what_can_i_ask_you", "what_are_your_hobbies", "fun_fact"},
    {"balance", "bill_balance", "interest_rate", "income", "transactions", "spending_history"},
)


@dataclass(slots=True, frozen=True)
class Question:
    """One question. Those with the same ``answer`` are taken to deserve the same answer."""

    text: str
    intent: str
    category: str
    answer: tuple[str, ...]
    entity: tuple[str, str] | None = None
    """(kind, value) of the entity in it, where the set says so."""


def available() -> bool:
    """Whether the data lies beside the checkout."""
    return (DATA / "support").is_dir() and (DATA / "intents").is_dir()


def load_support() -> list[Question]:
    """The customer-support questions, all three parts."""
    rows = [row for path in sorted((DATA / "support").glob("*.csv")) for row in csv.DictReader(path.open())]
    return [_read_support(row) for row in rows]


def _read_support(row: dict[str, str]) -> Question:
    text, intent = row["utterance"], row["intent"]
    lower = text.lower()
    aspects = [*_ASPECTS.get(intent, ()), *_ALWAYS]
    found = [str(int(bool(re.search(pattern, lower)))) for pattern in aspects]
    entity = (row["entity_type"], row["entity_value"]) if row["entity_type"] else None
    answer = (intent, *(entity or ()), "".join(found), " ".join(_DIGITS.findall(text)))
    return Question(text, intent, row["category"], answer, entity)


def load_intents() -> list[Question]:
    """The questions of 150 intents, all three parts, without those out of scope."""
    with gzip.open(DATA / "intents" / "clinc150_full.json.gz", "rt") as file:
        parts = json.load(file)
    pairs = [pair for part in ("train", "val", "test") for pair in parts[part]]
    return [
        Question(text, intent, "intents", (intent,) if intent in PLAIN_INTENTS else (intent, text))
        for text, intent in pairs
    ]


def overlap(one: str, other: str) -> bool:
    """Whether two intents cannot be told apart in every question."""
    return one == other or any({one, other} <= group for group in _OVERLAPS)


def is_held_out(intent: str) -> bool:
    """Whether an intent is kept from fitting: two of five, by its name alone."""
    return blake2b(intent.encode(), digest_size=1).digest()[0] % 5 < 2
