"""What opens a connection only where the user has asked for it."""

from __future__ import annotations

import netrc
from collections.abc import MutableMapping


def default_wandb_offline(environment: MutableMapping[str, str]) -> None:
    """Keep W&B offline unless its user has configured it: a mode, an API key, or a login."""
    if "WANDB_MODE" in environment or "WANDB_API_KEY" in environment or _logged_in(environment):
        return
    environment["WANDB_MODE"] = "offline"


def _logged_in(environment: MutableMapping[str, str]) -> bool:
    try:
        hosts = netrc.netrc(environment.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)
