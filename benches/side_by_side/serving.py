"""What a running `bornright serve` costs: start, first scan, rescan, memory, scrapes, restart. Beside node_exporter's
textfile collector and pushgateway with the same page, where they are installed.

    serving.py --bin DIR --bornright PATH --work DIR [--findings 1000000] [--scrapes 50]

CPU is read from /proc, so this runs on Linux only. Everything listens on loopback.
"""

import argparse
import gzip
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid):
    """Resident now and at its peak, in MiB."""
    with open("/proc/%d/status" % pid) as f:
        lines = dict(line.split(":", 1) for line in f if ":" in line)
    return tuple(int(lines[k].split()[0]) / 1024 for k in ("VmRSS", "VmHWM"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port, path, headers=None, method="GET", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def wait_until_up(port, path, process, patience=60):
    began = time.monotonic()
    while time.monotonic() - began < patience:
        if process.poll() is not None:
            raise SystemExit("%s ended with %d" % (process.args[0], process.returncode))
        try:
            if get(port, path)[0] == 200:
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.002)
    raise SystemExit("%s does not answer on %s" % (process.args[0], path))


def wait_until_quiet(pid, least, patience=600):
    """Waits until the process has used `least` more CPU seconds and then rests; says how much it used."""
    start = last = cpu(pid)
    began = time.monotonic()
    while time.monotonic() - began < patience:
        time.sleep(2)
        now = cpu(pid)
        if now - start >= least and now - last <= 0.02:
            return now - start
        last = now
    raise SystemExit("the process does not come to rest")


def scrape(pid, port, path, headers, times):
    get(port, path, headers)
    before = cpu(pid)
    size = 0
    for _ in range(times):
        status, data = get(port, path, headers)
        assert status == 200, status
        size = len(data)
    return (cpu(pid) - before) / times * 1000, size


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--bin", required=True)
    args.add_argument("--bornright", required=True)
    args.add_argument("--work", required=True)
    args.add_argument("--findings", type=int, default=1_000_000)
    args.add_argument("--scrapes", type=int, default=50)
    args = args.parse_args()
    work = os.path.abspath(args.work)
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work + "/scans")
    generate = [args.bin + "/gen", "--findings", str(args.findings), "--format", "ocsf-ndjson"]
    now = int(time.time())
    subprocess.run(generate + ["--out", work + "/first", "--time", str(now), "--definitions", work + "/controls.yaml"], check=True)
    subprocess.run(generate + ["--out", work + "/second", "--time", str(now), "--mutate", "0.01", "--drop", "0.002"], check=True)
    port = free_port()
    with open(work + "/bornright.yaml", "w") as f:
        f.write(
            "listen: 127.0.0.1:%d\n"
            "ledger: { sqlite: { path: ledger.db } }\n"
            "definitions: [controls.yaml]\n"
            'scope: "{account}"\n'
            "series_limit: 50000\n"
            "collectors:\n"
            "  - name: bench\n"
            "    every: 30s\n"
            "    max_age: 30d\n"
            '    from: { file: { path: "scans/*.ndjson" } }\n'
            "    format: ocsf\n" % port
        )
    rows = []

    def start():
        began = time.monotonic()
        log = open(work + "/log", "ab")
        process = subprocess.Popen([args.bornright, "serve", "--config", "bornright.yaml"], cwd=work, stdout=log, stderr=log)
        wait_until_up(port, "/metrics", process)
        rows.append(("start, until /metrics answers", "%.0f ms wall, %.0f ms CPU" % ((time.monotonic() - began) * 1e3, cpu(process.pid) * 1e3)))
        return process

    process = start()
    try:
        rows.append(("memory, empty", "%.0f MiB" % memory(process.pid)[0]))
        os.replace(work + "/first", work + "/scans/scan.ndjson")
        rows.append(("first scan, %d findings" % args.findings, "%.2f s CPU" % wait_until_quiet(process.pid, 0.2)))
        rows.append(("memory after it", "%.0f MiB, peak %.0f MiB" % memory(process.pid)))
        os.replace(work + "/second", work + "/scans/scan.ndjson")
        rows.append(("rescan, 1 % turned around, 0.2 % gone", "%.2f s CPU" % wait_until_quiet(process.pid, 0.2)))
        rows.append(("memory after it", "%.0f MiB, peak %.0f MiB" % memory(process.pid)))
        rows.append(("ledger", "%.1f MB" % (sum(os.path.getsize(work + "/" + n) for n in os.listdir(work) if n.startswith("ledger")) / 1e6)))
        page = get(port, "/metrics")[1]
        series = sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))
        for name, headers in (("text", {}), ("gzip", {"Accept-Encoding": "gzip"})):
            cost, size = scrape(process.pid, port, "/metrics", headers, args.scrapes)
            rows.append(("scrape, %d series, %s" % (series, name), "%.2f ms CPU, %.2f MB" % (cost, size / 1e6)))
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process = start()
        rows[-1] = ("restart with the ledger, until /metrics answers", rows[-1][1])
        rows.append(("memory after it", "%.0f MiB, peak %.0f MiB" % memory(process.pid)))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    rows += node_exporter(work, page, args.scrapes) + pushgateway(work, page, args.scrapes)
    print("\n### serve, %d findings\n\n| what | cost |\n|---|---|" % args.findings)
    for row in rows:
        print("| %s | %s |" % row)


def node_exporter(work, page, times):
    program = shutil.which("prometheus-node-exporter")
    if not program:
        return [("node_exporter", "not installed (prometheus-node-exporter)")]
    os.makedirs(work + "/textfile", exist_ok=True)
    with open(work + "/textfile/page.prom", "wb") as f:
        f.write(page)
    port = free_port()
    return peer(
        "node_exporter, textfile, the same page",
        [program, "--collector.disable-defaults", "--collector.textfile", "--collector.textfile.directory=" + work + "/textfile", "--web.listen-address=127.0.0.1:%d" % port],
        port,
        None,
        times,
    )


def pushgateway(work, page, times):
    program = shutil.which("prometheus-pushgateway")
    if not program:
        return [("pushgateway", "not installed (prometheus-pushgateway)")]
    port = free_port()
    return peer("pushgateway, the same page", [program, "--web.listen-address=127.0.0.1:%d" % port], port, page, times)


def peer(name, command, port, push, times):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_up(port, "/metrics", process)
        if push is not None:
            status, said = get(port, "/metrics/job/bench", {"Content-Encoding": "gzip"}, "PUT", gzip.compress(push, 1))
            if status >= 400:
                return [(name, "refused: %s" % said.decode(errors="replace").strip())]
        cost, size = scrape(process.pid, port, "/metrics", {"Accept-Encoding": "gzip"}, max(3, times // 10))
        return [(name, "%.1f ms CPU, %.2f MB, peak %.0f MiB" % (cost, size / 1e6, memory(process.pid)[1]))]
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
