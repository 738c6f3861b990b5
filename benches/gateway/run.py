#!/usr/bin/env python3
"""The gateway beside nginx, in one run: CPU time a request, requests a second, waiting times, and their ratios.

  benches/gateway/run.py [--rounds N] [--seconds N] [--connections N] [--threads N] [--pin] [--perf] [--keep]

Six proxies before one nginx that returns 1 KiB: nginx as a plain proxy, nginx with a Lua script that decides by cookie
and header, the bare proxy of hyper-util's server and client in `hyper-util/` (one thread, whatever is asked for), the gateway
deciding nothing (`--bare`), the gateway with the shop's rules, and with 100,000 rules. All have the same number of worker
threads and kept connections on both sides. They take turns, and every number is the median
over the rounds; so are the ratios, which are taken within each round, as the machine may be shared.

CPU time is what the kernel accounts to the threads of the proxy's processes, in user and system mode: as utime and stime in
/proc/PID/stat, to the nanosecond instead of the hundredth of a second. Needs nginx, its Lua module, lua-cjson and wrk, which are
installed with apt where they are missing.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
CLUSTERS = ["gray", "next", "prod_a", "prod_b"]
HEADERS = {
    "Host": "shop.example.com",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Cookie": "theme=dark; uid=100231; seen=2026-11-20",
    "X-App-Version": "2.1.0",
}
PIN = False
PATH = "/checkout/pay?step=2"


def need():
    missing = [name for name in ("nginx", "wrk") if not shutil.which(name)]
    if not MODULE.exists():
        missing.append("libnginx-mod-http-lua")
    if not any(pathlib.Path("/usr/lib").glob("*/lua/5.1/cjson.so")):
        missing.append("lua-cjson")
    if missing:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], check=True)


def build():
    subprocess.run(
        ["cargo", "build", "--profile", "bench", "--example", "gateway", "--no-default-features"]
        + ["--features", "analyse,cache,capture,deny,file,health,limit,metrics,mirror,serde"],
        cwd=ROOT,
        check=True,
    )
    return target() / "release" / "examples" / "gateway"


def build_bare():
    folder = HERE / "hyper-util"
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--target-dir", target() / "hyper-util"], cwd=folder, check=True
    )
    return target() / "hyper-util" / "release" / "pointsman-bare-proxy"


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


class Proxy:
    """A process with its children, and where it listens."""

    def __init__(self, name, port, command, log):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(port)

    def pids(self):
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            todo.extend(int(child) for child in children)
        return found

    def cpu(self):
        """Seconds of CPU so far, of all threads and children."""
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def pinned(cpu, command):
    """With --pin, proxies on one core and what loads and answers them on the other: the same for all."""
    return ["taskset", "-c", cpu, *command] if PIN else command


def millis(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def load(port, args):
    command = ["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s", "--latency"]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    out = subprocess.run(
        pinned("1", command + [f"http://127.0.0.1:{port}{PATH}"]), check=True, capture_output=True, text=True
    ).stdout
    bad = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    if bad:
        sys.exit(f"port {port}: {bad.group(1)}")
    return {
        "requests": int(re.search(r"(\d+) requests in", out).group(1)),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
        "p50": millis(re.search(r"^\s+50%\s+(\S+)$", out, re.M).group(1)),
        "p99": millis(re.search(r"^\s+99%\s+(\S+)$", out, re.M).group(1)),
    }


def conf(name, folder, **values):
    text = (HERE / name).read_text()
    values |= {"DIR": folder, "HERE": HERE, "BODY": "x" * 1024}
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", str(value))
    path = folder / name
    path.write_text(text)
    return ["nginx", "-c", str(path), "-p", str(folder)]


def many_rules(folder):
    """The shop's rules behind those of tenants, a hundred thousand in all."""
    shop = (ROOT / "examples/shop.rules").read_text()
    head, routes = shop.split("# Testers ask", 1)
    tenants = "".join(
        # Short, as a text may have 4 MiB.
        f'route t{n}:host=="t{n}.eu"=>gray\n' for n in range(99_980)
    )
    path = folder / "many.rules"
    path.write_text(head + tenants + "# Testers ask" + routes)
    return path


def profile(proxy, args, folder):
    """What share of the gateway's CPU deciding is, by where the samples fall."""
    data = folder / "perf.data"
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-g", "-o", data, "-p", str(proxy.process.pid)]
    )
    load(proxy.port, args)
    recorder.send_signal(signal.SIGINT)
    recorder.wait()
    report = subprocess.run(
        ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0", "-F", "overhead,sym"],
        capture_output=True,
        text=True,
    ).stdout
    lines = re.findall(r"^\s+([\d.]+)%\s+\[(.)\]\s+(.+?)\s*$", report, re.M)
    ours = [(float(share), name) for share, _, name in lines if "pointsman::" in name]
    print(f"\n{proxy.name}: samples in functions of the crate, {sum(share for share, _ in ours):.2f} % of all")
    for share, name in ours[:12]:
        print(f"  {share:5.2f} %  {name}")
    (folder / "report.txt").write_text(report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--perf", action="store_true", help="profile the gateway at the end")
    parser.add_argument("--keep", action="store_true", help="keep logs and profiles")
    parser.add_argument("--binary", type=pathlib.Path, help="a gateway that is built already")
    parser.add_argument("--pin", action="store_true", help="proxies on core 0, all else on core 1")
    args = parser.parse_args()
    global PIN
    PIN = args.pin
    need()
    gateway, bare = args.binary or build(), build_bare()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pointsman-gateway-"))
    os.chmod(folder, 0o755)
    log = open(folder / "log", "w")
    proxies, up = [], free_port()
    upstream = Proxy("upstream", up, pinned("1", conf("upstream.conf", folder, upstream=up)), log)
    try:
        for name, file in [("nginx", "nginx.conf"), ("nginx+Lua", "lua.conf")]:
            port = free_port()
            command = conf(file, folder, port=port, upstream=up, threads=args.threads)
            proxies.append(Proxy(name, port, pinned("0", command), log))
        port = free_port()
        command = [bare, f"127.0.0.1:{port}", f"127.0.0.1:{up}"]
        proxies.append(Proxy("hyper-util", port, pinned("0", command), log))
        servers = [part for name in CLUSTERS for part in ("--cluster", f"{name}=127.0.0.1:{up}")]
        for name, more in [
            ("bare", ["--bare"]),
            ("gateway", ["--rules", ROOT / "examples/shop.rules"]),
            ("gateway, 100,000 rules", ["--rules", many_rules(folder)]),
        ]:
            port = free_port()
            command = [gateway, "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]
            command += ["--threads", str(args.threads), *servers, *more]
            proxies.append(Proxy(name, port, pinned("0", command), log))
        results = {proxy.name: [] for proxy in proxies}
        for round in range(args.rounds + 1):
            for proxy in proxies:
                before = proxy.cpu()
                result = load(proxy.port, args)
                result["cpu"] = (proxy.cpu() - before) / result["requests"] * 1e6
                # The first round fills pools and caches.
                if round:
                    results[proxy.name].append(result)
        show(results)
        if args.perf:
            for proxy in proxies[4:]:
                profile(proxy, args, folder)
    finally:
        for proxy in [*proxies, upstream]:
            proxy.stop()
        log.close()
        if args.keep:
            print(f"\nlogs and profiles: {folder}")
        else:
            shutil.rmtree(folder)


def show(results):
    median = lambda name, key: statistics.median(result[key] for result in results[name])
    ratio = lambda name, to: statistics.median(
        a["cpu"] / b["cpu"] for a, b in zip(results[name], results[to])
    )
    print(f"{'':24}{'CPU us/req':>11}{'req/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'÷ nginx':>9}{'÷ Lua':>8}{'÷ hyper':>9}{'÷ bare':>8}")
    for name in results:
        print(
            f"{name:24}{median(name, 'cpu'):11.2f}{median(name, 'rate'):9.0f}{median(name, 'p50'):8.2f}"
            f"{median(name, 'p99'):8.2f}{ratio(name, 'nginx'):9.3f}{ratio(name, 'nginx+Lua'):8.3f}"
            f"{ratio(name, 'hyper-util'):9.3f}{ratio(name, 'bare'):8.3f}"
        )


if __name__ == "__main__":
    main()
