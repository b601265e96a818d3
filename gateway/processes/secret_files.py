"""Files of keys that more accounts of this machine can read than should."""

from __future__ import annotations

import logging
import stat
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)


def warn_if_others_read(files: Mapping[str, Path]) -> None:
    """Log a warning for each that every account can read. That its group can is usual, and no reason for one."""
    for setting, file in files.items():
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & stat.S_IROTH:
            logger.warning(
                "%s = %s: every account of this machine can read it (mode %o); chmod o= it", setting, file, mode
            )
