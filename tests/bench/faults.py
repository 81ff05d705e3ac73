#!/usr/bin/env python3
"""Gates through the real daemon: healthy rollouts, and every kind of fault, over simulated devices.

A run is one daemon with a fast clock, one fleet of many classes (flotilla simulate), and three
kinds of rollout of the same release over it at the same time:

  faults      one rollout, a lane with each fault and some without
  everywhere  one rollout, the same small fault in all lanes, too little for any of them alone
  A/A         many rollouts of a candidate that behaves as stable does

Devices differ for good in use, in how often they fail and in pace; they sleep at night, are used more
from day to day, go offline (late reports) and lose reports.  Prints a Markdown table and writes
build/bench/faults.md; exits with 1 when a goal is missed.  Knobs, from the environment:

  SEEDS  "1 2 3"   a run each
  SIZE   1.0       devices of a lane, of those below
  SPEED  1000      the daemon's seconds a real one; what two cores can follow
  DAYS   7         of the fleet, after which a run ends whatever is still open
  PARTS  "faults everywhere aa"
"""
import json
import math
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

BIN = os.environ.get("BIN", "build/release")
SEEDS = [int(s) for s in os.environ.get("SEEDS", "1 2 3").split()]
SIZE = float(os.environ.get("SIZE", "1"))
SPEED = int(os.environ.get("SPEED", "1000"))
DAYS = float(os.environ.get("DAYS", "7"))
PARTS = os.environ.get("PARTS", "faults everywhere aa").split()

DAY, HOUR = 86400, 3600
WARM_S = 31 * HOUR  # before the rollouts start: the baseline needs a whole day of usage
OS = [13, 14, 15]
# ppm of a lane.  A stage needs 300 summaries, 100 of them of candidates, and these lanes are small.
STAGES = {"faults": [200000, 500000], "everywhere": [400000], "aa": [400000]}
ALPHA_PPM = 10000
LOOSE_PPM = 200000  # an alpha at which false rollbacks would show, if there were too many

# What is observed of any release; a fault changes some of it, for the candidate.
HEALTHY = {
    "crash": 0.004, "timeout": 0.002, "load_fail": 0.002, "load_oom": 0.001, "thumb_down": 0.08,
    "regenerate": 0.04, "load_ms": [1200, 0.3], "ttft_ms": [400, 0.3], "energy_mj_1k": [9000, 0.2],
    "decode_mtps": [12000, 0.2], "probe_pm": [930, 30]}
USE = {
    "full": 1, "runtimes": {"llama.cpp": "4000"}, "os_majors": OS, "sessions_per_day": 10,
    "requests_per_session": 3, "spread": 0.5, "prone": 0.7, "pace": 0.15, "night": 0.7,
    "growth": 0.05, "offline": 0.04, "offline_s": 7200, "lost": 0.02}
# name: (what, devices of the lane, what the candidate does, on which OS, gates that may catch it)
FAULTS = {
    "crash": ("crashes x2", 3600, {"crash": 0.008}, None, ["window.crash"]),
    "ttft": ("time to the first token +25 %", 3000, {"ttft_ms": [500, 0.3]}, None,
             ["window.ttft_ms.p95"]),
    "load": ("30 % cannot load it on OS 14", 1000, {"load_fail": 0.3}, 14, ["outcome.load", "window.err.load"]),
    "brick": ("bricked: silent after the first load", 800, {"brick": 1.0}, None, ["missing"]),
    "battery": ("battery +25 %", 3000, {"energy_mj_1k": [11250, 0.2]}, None,
                ["window.energy_mj_1k.p95"]),
    "probe": ("probe score -10 points", 1200, {"probe_pm": [830, 30]}, None,
              ["outcome.probe_score"]),
    "thumbs": ("thumbs-down +30 %", 5000, {"thumb_down": 0.104}, None, ["window.thumb.down"]),
}
WELL = {"well-a": 1000, "well-b": 1200, "well-c": 1400}
EVERYWHERE = {f"all-{c}": 400 for c in "abcdefghijklmnop"}
EVERYWHERE_FAULT = ("crashes x2 in sixteen small lanes", {"crash": 0.008})
AA_SINGLE, AA_TRIPLE, AA_DEVICES = 8, 2, 450  # rollouts of one lane and of three, at each alpha


def size(devices):
    return max(1, round(devices * SIZE))


class Rollout:
    def __init__(self, part, lanes, alpha_ppm=ALPHA_PPM):
        self.part, self.lanes, self.alpha_ppm = part, lanes, alpha_ppm
        self.id = self.doc = None


def plan_rollouts():
    """All rollouts of a run: {class: devices} each."""
    rollouts = []
    if "faults" in PARTS:
        lanes = {name: size(f[1]) for name, f in FAULTS.items()}
        lanes.update({name: size(n) for name, n in WELL.items()})
        rollouts.append(Rollout("faults", lanes))
    if "everywhere" in PARTS:
        rollouts.append(Rollout("everywhere", {k: size(n) for k, n in EVERYWHERE.items()}))
    for alpha in (ALPHA_PPM, LOOSE_PPM) if "aa" in PARTS else ():
        for i in range(AA_SINGLE + AA_TRIPLE):
            names = [f"aa-{alpha}-{i}-{k}" for k in range(1 if i < AA_SINGLE else 3)]
            rollouts.append(Rollout("aa", {name: size(AA_DEVICES) for name in names}, alpha))
    return rollouts


def profile_of(lanes):
    """What flotilla simulate reads."""
    classes = [dict(USE, name=name, devices=n, attributes={"os": "android", "ram_mib": 1000 + i})
               for i, (name, n) in enumerate(lanes.items())]
    rows = []
    for name, (_, _, change, os_major, _) in FAULTS.items():
        row = dict(HEALTHY, **change, **{"class": name, "variant": "assistant@2.*"})
        rows.append(dict(row, os_major=os_major) if os_major else row)
    rows.append(dict(HEALTHY, **EVERYWHERE_FAULT[1],
                     **{"class": "all-*", "variant": "assistant@2.*"}))
    rows.append(HEALTHY)
    return {"schema": 1, "model": "assistant", "enter_after_s": 12 * HOUR, "classes": classes,
            "behaviour": rows}


def rules_of(lanes):
    rules = [{"class": name, "any": [{"all": [{"attr": "ram_mib", "op": "eq", "value": 1000 + i}]}]}
             for i, name in enumerate(lanes)]
    return {"schema": 1, "rules": rules + [{"class": "default"}]}


class Daemon:
    """flotillad in a directory of its own, and what is asked of it."""

    def __init__(self, work):
        self.work, self.process = work, None
        self.token_file = os.path.join(work, "data", "admin.token")
        self.ingest = self.write("ingest.token", secrets.token_hex(16))
        subprocess.run([f"{BIN}/flotillad", "init", "--data-dir", f"{work}/data", "--dev"],
                       check=True, stdout=subprocess.DEVNULL)
        self.log = open(f"{work}/flotillad.log", "w+")
        self.process = subprocess.Popen(
            [f"{BIN}/flotillad", "--data-dir", f"{work}/data", "--device-listen", "127.0.0.1:0",
             "--admin-listen", "127.0.0.1:0", "--clock-speed", str(SPEED), "--ingest-token-file",
             self.ingest], stdout=self.log, stderr=self.log)
        started = self.wait_for("server.started")
        self.device = f"http://127.0.0.1:{started['device_port']}"
        self.admin = f"http://127.0.0.1:{started['admin_port']}"
        with open(self.token_file) as f:
            self.token = f.read().strip()

    def write(self, name, content):
        path = os.path.join(self.work, name)
        with open(path, "w") as f:
            f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def wait_for(self, event):
        for _ in range(300):
            if self.process.poll() is not None:
                break
            with open(self.log.name) as f:
                for line in f:
                    if f'"event":"{event}"' in line:
                        return json.loads(line)
            time.sleep(0.1)
        raise SystemExit("faults: the daemon does not start: " + self.log.name)

    def ctl(self, *args):
        subprocess.run([f"{BIN}/flotilla", "-q", "--server", self.admin, "--token-file",
                        self.token_file, *args], check=True, stdout=subprocess.DEVNULL)

    def api(self, method, path, body=None):
        request = urllib.request.Request(
            self.admin + path, method=method, data=json.dumps(body).encode() if body else None,
            headers={"Authorization": "Bearer " + self.token, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def now(self):
        clock = self.api("GET", "/admin/v1/status")["clock"]
        return clock["own_ms"] / 1000

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None


def publish(daemon, lanes):
    """Two releases, stable the first, and a class a lane."""
    daemon.ctl("class", "rules-set", daemon.write("rules.json", rules_of(lanes)))
    for name, devices in lanes.items():
        settings = {"devices": devices, "poll_s": 21600, "candidate_poll_s": 7200,
                    # A second of the machine's is a quarter of an hour here: reports get more time.
                    "jitter_s": 3600, "report_grace_s": 7200}
        daemon.ctl("class", "set", name, daemon.write("class.json", settings))
    daemon.ctl("model", "create", "assistant")
    for n in (1, 2):
        subprocess.run([f"{BIN}/flotilla-synth", "--size", "tiny", "--tier", "q8_0", "--seed",
                        str(n), daemon.work, f"v{n}"], check=True, stdout=subprocess.DEVNULL)
        daemon.ctl("push", f"{daemon.work}/v{n}-q8_0.gguf", "--release", f"assistant@{n}.0.0",
                   "--tier", "q8_0", "--publish")
    daemon.ctl("release", "bootstrap", "assistant@1.0.0")
    token = subprocess.run([f"{BIN}/flotilla", "-q", "--server", daemon.admin, "--token-file",
                            daemon.token_file, "token", "create", "gateway", "--role", "relay"],
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    daemon.relay = daemon.write("relay.token", token)


def start_fleet(daemon, lanes, seed):
    status = os.path.join(daemon.work, "status.json")
    out = open(f"{daemon.work}/simulate.log", "w")
    process = subprocess.Popen(
        [f"{BIN}/flotilla", "-q", "--server", daemon.admin, "--token-file", daemon.token_file,
         "simulate", daemon.write("profile.json", profile_of(lanes)), "--url", daemon.device,
         "--root", f"{daemon.work}/data/index.root.json", "--ingest-token-file", daemon.ingest,
         "--edge-s", "600", "--trusting", "--relay-token-file", daemon.relay, "--seed", str(seed), "--start-s", "7200", "--status", status],
        stdout=out, stderr=out)
    return process, status


def figures(status):
    try:
        with open(status) as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def start_rollouts(daemon, rollouts):
    for r in rollouts:
        body = {"model": "assistant", "release": "2.0.0", "channel": "stable",
                "classes": list(r.lanes), "alpha_ppm": r.alpha_ppm,
                "stages": [{"ppm": ppm} for ppm in STAGES[r.part]]}
        r.id = daemon.api("POST", "/admin/v1/rollouts", body)["id"]


def over(r):
    return all(lane["state"] not in ("running", "holding") for lane in r.doc["lanes"])


def tell(daemon, rollouts, seen, late):
    """What changed, on stderr: it takes minutes."""
    for r in rollouts:
        for lane in r.doc["lanes"]:
            key = (r.id, lane["class"])
            now = (lane["state"], lane["stage"])
            if r.part != "aa" and seen.get(key) != now:
                print(f"  {r.id} {lane['class']}: {lane['state']}, stage {lane['stage']}"
                      f" {lane['reason'] or ''} (late {late} s)", file=sys.stderr)
            seen[key] = now


def watch(daemon, fleet, status, rollouts):
    """Until every lane is over, or all that are not have been held for a while: nobody is there to let
    them go on.  The worst lateness of the fleet on the way."""
    seen, worst, end = {}, 0, daemon.now() + DAYS * DAY
    last_running = daemon.now()
    while True:
        if fleet.poll() is not None or daemon.process.poll() is not None:
            raise SystemExit(f"faults: a program ended; see {daemon.work}")
        for r in rollouts:
            if r.doc is None or not over(r):
                r.doc = daemon.api("GET", f"/admin/v1/rollouts/{r.id}")
        late = figures(status).get("late_s", 0)
        worst = max(worst, late)
        tell(daemon, rollouts, seen, late)
        if any(lane["state"] == "running" for r in rollouts for lane in r.doc["lanes"]):
            last_running = daemon.now()
        if all(over(r) for r in rollouts) or daemon.now() > min(end, last_running + 6 * HOUR):
            return worst
        time.sleep(1)


def run(seed):
    """One fleet's life; its rollouts with what became of them, and figures of the fleet."""
    work = tempfile.mkdtemp(prefix="flotilla-faults.")
    rollouts = plan_rollouts()
    lanes = {name: n for r in rollouts for name, n in r.lanes.items()}
    daemon, fleet = None, None
    try:
        daemon = Daemon(work)
        publish(daemon, lanes)
        fleet, status = start_fleet(daemon, lanes, seed)
        begin = daemon.now()
        print(f"seed {seed}: {sum(lanes.values())} devices in {len(lanes)} lanes of {len(rollouts)}"
              " rollouts", file=sys.stderr)
        while daemon.now() < begin + WARM_S:
            time.sleep(0.5)
        start_rollouts(daemon, rollouts)
        worst = watch(daemon, fleet, status, rollouts)
        seen = figures(status)
        fleet.terminate()
        fleet.wait()
        return rollouts, {"late_s": worst, "reports": seen["reports"],
                          "refused": seen["report_errors"], "devices": seen["devices"],
                          "sessions": sum(c["sessions"] for c in seen["classes"].values()),
                          "days": (daemon.now() - begin) / DAY, "end": daemon.now()}
    finally:
        if fleet and fleet.poll() is None:
            fleet.kill()
            fleet.wait()
        if daemon:
            daemon.stop()
        if os.environ.get("KEEP"):
            print(f"kept {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


# ---- the table ----

def binomial_limit(n, p):
    """The most that chance alone brings once in 741 times (three standard errors)."""
    tail, k = 1.0, -1
    while tail > 0.00135:
        k += 1
        tail -= math.comb(n, k) * p**k * (1 - p)**(n - k)
    return k


class Table:
    def __init__(self):
        self.lines, self.red = [], 0

    def head(self, *cells):
        self.lines += ["", "| " + " | ".join(cells) + " |", "|" + "---|" * len(cells)]

    def row(self, *cells, met=None):
        end = "" if met is None else "met" if met else "RED"
        self.red += met is False
        self.lines.append("| " + " | ".join(str(c) for c in cells) + f" | {end} |")

    def text(self):
        return "\n".join(self.lines).strip() + "\n"


def gate_of(lane):
    """The gate that a reason begins with; pooled evidence ends the other lanes by another word."""
    return lane["reason"].split(":")[0].split(",")[0] if lane["state"] == "rolled_back" else "-"


def is_held(lane, gates):
    """Stopped for an operator because one of the gates is suspicious: too few devices to be sure."""
    return lane["state"] == "holding" and any(f"{g} is suspicious" in lane["reason"] for g in gates)


def slice_of(lane):
    """The slice that a reason names; empty: none."""
    found = re.search(r"; .* on (.+?), where", lane["reason"] or "")
    return found.group(1) if found else ""


def days_of(lane, end):
    """A lane's life, in days of the fleet."""
    over_at = end if lane["state"] in ("running", "holding") else lane["since"]
    return (over_at - lane["started"]) / DAY


def lanes_of(runs, part):
    return [(seed, lane, fleet) for seed, rollouts, fleet in runs for r in rollouts
            if r.part == part for lane in r.doc["lanes"]]


def spread(values, digits=1):
    values = sorted(values)
    if not values:
        return "-"
    low, high = (f"{v:.{digits}f}" for v in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def count_words(words):
    return ", ".join(f"{w} {words.count(w)}" if len(set(words)) > 1 else w
                     for w in sorted(set(words)))


def table_faults(table, runs):
    lanes = lanes_of(runs, "faults")
    table.head("fault in one lane of ten", "devices", "taken back", "by", "held", "exposed",
               "days until then", "goal", "")
    for name, (what, devices, _, os_major, gates) in FAULTS.items():
        mine = [(lane, fleet) for _, lane, fleet in lanes if lane["class"] == name]
        back = [lane for lane, _ in mine if lane["state"] == "rolled_back"]
        held = [lane for lane, _ in mine if is_held(lane, gates)]
        words = [gate_of(lane) for lane in back]
        slices = [slice_of(lane) for lane in back if os_major]
        named = all(s.endswith(f" {os_major}") for s in slices)
        table.row(what, size(devices), f"{len(back)} of {len(mine)}",
                  (count_words(words) or "-") + (": " + count_words(slices) if slices else ""),
                  len(held), spread([lane["entered"]["candidate"] for lane in back + held], 0),
                  spread([days_of(lane, 0) for lane in back]),
                  "all stopped by " + " or ".join(gates),
                  met=len(back) + len(held) == len(mine) and all(w in gates for w in words) and
                  named)
    well = [lane for _, lane, _ in lanes if lane["class"] in WELL]
    done = [lane for lane in well if lane["state"] == "complete"]
    back = [lane for lane in well if lane["state"] in ("rolled_back", "aborted")]
    table.row("none: the other three complete", "", f"{len(back)} of {len(well)}",
              count_words([gate_of(lane) for lane in back]) or "-", "",
              f"{len(done)} complete", spread([days_of(lane, 0) for lane in done]), "none; all",
              met=not back and len(done) == len(well))


def table_everywhere(table, runs):
    lanes = lanes_of(runs, "everywhere")
    seeds = sorted({seed for seed, _, _ in lanes})
    back = [lane for _, lane, _ in lanes if lane["state"] == "rolled_back"]
    pooled = [lane for lane in back if "pooled" in lane["reason"]]
    whole = sum(all(lane["state"] == "rolled_back" for s, lane, _ in lanes if s == seed)
                for seed in seeds)
    exposed = [sum(lane["entered"]["candidate"] for s, lane, _ in lanes if s == seed)
               for seed in seeds]
    table.head("fault in all lanes", "devices", "taken back everywhere", "by", "exposed",
               "days until then", "goal", "")
    table.row(EVERYWHERE_FAULT[0], sum(size(n) for n in EVERYWHERE.values()),
              f"{whole} of {len(seeds)}",
              f"window.crash, pooled {len(pooled)}, alone {len(back) - len(pooled)}",
              spread(exposed, 0), spread([days_of(lane, 0) for lane in back]),
              "all, hardly a lane alone",
              met=whole == len(seeds) and len(pooled) >= 0.9 * len(back))


def table_aa(table, runs, gates):
    table.head("healthy rollouts (A/A), alpha", "rollouts", "lanes", "looks", "gates' looks",
               "false rollbacks", "alpha allows", "limit (3 SE)", "lanes complete", "")
    for alpha_ppm in (ALPHA_PPM, LOOSE_PPM):
        mine = [(r, fleet) for _, rollouts, fleet in runs for r in rollouts
                if r.part == "aa" and r.alpha_ppm == alpha_ppm]
        lanes = [(lane, fleet) for r, fleet in mine for lane in r.doc["lanes"]]
        false = sum(any(lane["state"] in ("rolled_back", "aborted") for lane in r.doc["lanes"])
                    for r, _ in mine)
        looks = sum(int(days_of(lane, fleet["end"]) * 24) for lane, fleet in lanes)
        done = sum(lane["state"] == "complete" for lane, _ in lanes)
        limit = binomial_limit(len(mine), alpha_ppm / 1e6)
        table.row(f"{alpha_ppm / 1e4:g} %", len(mine), len(lanes), looks, looks * gates, false,
                  f"{len(mine) * alpha_ppm / 1e6:.1f}", limit, f"{done} of {len(lanes)}",
                  met=false <= limit)


def table_fleet(table, runs):
    table.head("fleet of seed", "devices", "days", "sessions", "reports", "refused",
               "behind the clock at worst", "")
    for seed, _, f in runs:
        table.row(seed, f["devices"], f"{f['days']:.1f}", f["sessions"], f["reports"],
                  f["refused"], f"{f['late_s'] / 60:.0f} min", met=None)


def table_of(runs):
    table = Table()
    if "faults" in PARTS:
        table_faults(table, runs)
    if "everywhere" in PARTS:
        table_everywhere(table, runs)
    if "aa" in PARTS:
        table_aa(table, runs, 19)
    table_fleet(table, runs)
    return table


def main():
    runs = []
    os.makedirs("build/bench", exist_ok=True)
    for seed in SEEDS:
        runs.append((seed, *run(seed)))
        table = table_of(runs)
        with open("build/bench/faults.md", "w") as f:
            f.write(table.text())
    print(table.text(), end="")
    sys.exit(1 if table.red else 0)


if __name__ == "__main__":
    main()
