"""What `ptr export` prints: counts of messages, episodes and steps, and what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ptr_common.text_table import text_table


def table(audits: Sequence[dict[str, Any]]) -> str:
    """Return the counts of used and dropped messages, and of episodes, for the terminal."""
    lines = [_topic_table(audits), ""]
    lines.append(_episode_summary(audits))
    latencies = Counter(audit["camera_latency"] for audit in audits)
    for latency, number in latencies.items():
        if latency:
            lines.append(
                f"{number} bags: camera latency {1e3 * latency:.1f} ms, "
                "taken off the image stamps"
            )

    if number := sum("actions" in audit for audit in audits):
        lines.append(f"{number} bags: actions are the steps from each state to the next")
    for audit in audits:
        if "refused" in audit:
            lines.append(f"no episode of {audit['name']}: {audit['refused']}")
        for entry in audit["episodes"]:
            if not entry["steps"]:
                lines.append(
                    f"dropped episode {entry['id']} of {audit['name']}: {entry['refused']}"
                )

    return "\n".join(lines)


def _topic_table(audits: Sequence[dict[str, Any]]) -> str:
    """Return the number of messages of each topic, those used, and the reasons of the others."""
    counts: dict[str, Counter[str]] = {}
    for audit in audits:
        for topic, entry in audit["topics"].items():
            counts.setdefault(topic, Counter()).update(entry["fates"])

    rows = []
    for topic, by_status in sorted(counts.items()):
        dropped = []
        for status, number in by_status.most_common():
            if status != "used":
                dropped.append(f"{number} {status}")
        rows.append((topic, by_status.total(), by_status["used"], ", ".join(dropped)))

    return text_table(("topic", "messages", "used", "dropped"), rows, align="lrrl")


def judged_later(audits: Sequence[dict[str, Any]]) -> int:
    """Return how many episodes have a verdict that their bag has not."""
    entries = [entry for audit in audits for entry in audit["episodes"]]
    return sum("judged" in entry for entry in entries)


def _episode_summary(audits: Sequence[dict[str, Any]]) -> str:
    """Return the numbers of bags, episodes and steps in one line."""
    outcomes: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for audit in audits:
        for entry in audit["episodes"]:
            if entry["steps"]:
                outcomes[entry["outcome"]] += 1
                for name in ("steps", "held", "not executed"):
                    totals[name] += entry[name]

    by_outcome = ", ".join(
        f"{number} {outcome}" for outcome, number in outcomes.most_common()
    )
    later = judged_later(audits)
    return (
        f"{len(audits)} bags, {outcomes.total()} episodes ({by_outcome}), "
        f"{totals['steps']} steps, {totals['held']} of them held, "
        f"{totals['not executed']} commands not executed"
        + (f"; {later} judged by --verdicts" if later else "")
    )
