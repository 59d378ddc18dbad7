"""The lab's command line: ``python -m lab``."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import binaries, cache, demo, image, providers, tools
from lab.errors import LabError
from lab.native.controlplane import ControlPlane
from lab.provider import Provider


def main(argv: Sequence[str] | None = None) -> int:
    """Run a lab command; returns the exit status: 1 when the lab cannot do it, and says why."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="Real clusters for oomsayer's tests and demo"
    )
    parser.add_argument(
        "--provider",
        choices=providers.NAMES,
        help="existing: the cluster of KUBECONFIG; kind: where Docker or Podman runs; native: QEMU nodes. "
        "Without it the first of these that fits",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="bring the cluster up, and wait until its nodes are Ready")
    up.add_argument("--nodes", type=int, default=2)
    up.set_defaults(run=_up)
    commands.add_parser("prepare", help="make and cache all that `up` needs").set_defaults(run=_prepare)
    commands.add_parser("down", help="take the cluster away").set_defaults(run=_down)
    commands.add_parser("status", help="say what is up").set_defaults(run=_status)
    commands.add_parser("kubeconfig", help="print the path of the kubeconfig").set_defaults(run=_kubeconfig)
    commands.add_parser("image", help="build the project's image and print its archive").set_defaults(
        run=_image
    )
    load = commands.add_parser("load", help="give an image to every node")
    load.add_argument("archive", type=Path, nargs="?", help="a docker-archive; the project's own by default")
    load.set_defaults(run=_load)
    shell = commands.add_parser(
        "shell", help="run a command on a node, outside all pods; a single word is a shell line"
    )
    shell.add_argument("node")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    shell.set_defaults(run=_shell)
    log = commands.add_parser("log", help="print all that a node's kernel has said")
    log.add_argument("node")
    log.set_defaults(run=_log)
    apiserver = commands.add_parser("apiserver", help="etcd and an API server alone, without nodes")
    apiserver.add_argument("action", choices=["prepare", "up", "down"])
    apiserver.set_defaults(run=_apiserver)
    commands.add_parser("demo", help="a forecast, and then the OOM that was forecast").set_defaults(run=_demo)
    commands.add_parser("demo-down", help="take away what the demo made").set_defaults(run=_demo_down)
    tool = commands.add_parser("tool", help="print the path of kubectl or helm")
    tool.add_argument("name", choices=["kubectl", "helm"])
    tool.set_defaults(run=_tool)
    return parser


def _provider(arguments: argparse.Namespace) -> Provider:
    return providers.by_name(arguments.provider) if arguments.provider else providers.fitting()


def _up(arguments: argparse.Namespace) -> int:
    provider = _provider(arguments)
    with cache.locked("lab"):
        provider.up(arguments.nodes)
    print(provider.kubeconfig)
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    with cache.locked("lab"):
        _provider(arguments).prepare()
    return 0


def _down(arguments: argparse.Namespace) -> int:
    with cache.locked("lab"):
        _provider(arguments).down()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    provider = _provider(arguments)
    if not provider.running():
        print(f"{provider.name}: down")
        return 1
    print(f"{provider.name}: up\nKUBECONFIG={provider.kubeconfig}")
    return subprocess.run(
        [*tools.kubectl(provider.kubeconfig), "get", "nodes", "-o", "wide"], check=False
    ).returncode


def _kubeconfig(arguments: argparse.Namespace) -> int:
    print(_provider(arguments).kubeconfig)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    with cache.locked("image"):
        archive = arguments.archive or image.project_image()
    with cache.locked("lab"):
        _provider(arguments).load_image(archive)
    return 0


def _image(_arguments: argparse.Namespace) -> int:
    with cache.locked("image"):
        print(image.project_image())
    return 0


def _shell(arguments: argparse.Namespace) -> int:
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    command = ["sh", "-c", words[0]] if len(words) == 1 else words
    done = _provider(arguments).node_shell(arguments.node, command, timeout=None)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _log(arguments: argparse.Namespace) -> int:
    sys.stdout.write(_provider(arguments).kernel_log(arguments.node))
    return 0


def _apiserver(arguments: argparse.Namespace) -> int:
    control_plane = ControlPlane(cache.run_directory("apiserver"))
    with cache.locked("apiserver"):
        if arguments.action == "prepare":
            binaries.kubernetes(["kube-apiserver"])
            binaries.etcd()
            tools.tool("kubectl")
        elif arguments.action == "down":
            control_plane.stop()
        else:
            if not control_plane.running():
                control_plane.start(controllers=False)
            print(control_plane.kubeconfig)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    return demo.run(_provider(arguments), down=False)


def _demo_down(arguments: argparse.Namespace) -> int:
    return demo.run(_provider(arguments), down=True)


def _tool(arguments: argparse.Namespace) -> int:
    print(tools.tool(arguments.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
