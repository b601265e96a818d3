"""`python -m gateway`: one gateway, from its flags to its exit status."""

from __future__ import annotations

import asyncio
import os
import sys

from gateway.processes.log_output import log_to
from gateway.processes.secret_files import warn_if_others_read
from gateway.settings import METRICS_DIRECTORY_VARIABLE, Settings, flag_values, load_settings
from triton_repo.contract.errors import LaunchError


def main(argv: list[str]) -> int:
    log_to(sys.stderr)
    try:
        settings = load_settings(flag_values(argv))
        warn_if_others_read(settings.secret_files)
        if settings.workers > 1:
            from gateway.processes.supervisor import serve_in_workers

            asyncio.run(serve_in_workers(settings, argv))
            return 0
    except LaunchError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return _serve(settings)


def _serve(settings: Settings) -> int:
    os.environ.pop(METRICS_DIRECTORY_VARIABLE, None)  # another program's: this one shares its values with none
    from gateway.app import create_app  # heavy, and the parent of workers needs none of it
    from gateway.processes.server import Server, freeze_heap

    server = Server(create_app(settings), settings)
    freeze_heap()
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
