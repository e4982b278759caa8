"""Alert tiers worked out a second time, in exact fractions and by another route: writes tiers.csv beside it.

The program bends the catalogue tier by tier. Here every (severity, long window) that could come out is asked which
catalogue tiers end in it. Nothing is shared with the program but slo.md sections 4 and 5.3.
Run: python3 tests/slo/tiers.py > tests/slo/tiers.csv
"""

from fractions import Fraction as F
from itertools import product

M, H, D = 60, 3600, 86400
NICE = sorted(
    [5 * M, 10 * M, 15 * M, 20 * M, 30 * M, H, 90 * M, 2 * H, 3 * H, 4 * H, 6 * H, 8 * H, 12 * H, 18 * H]
    + [D, 36 * H] + [n * D for n in (2, 3, 4, 5, 6, 7, 9, 10, 14, 21, 28, 30, 45, 60, 90, 180, 365)]
)
TEXT = {"m": M, "h": H, "d": D}
OBJECTIVES = ["0.8", "0.9", "0.95", "0.99", "0.999"]
PERIODS = ["7d", "28d", "30d", "90d", "365d"]
SCANS = ["5m", "1h", "6h", "1d", "7d"]
SCRAPE = M


def seconds(text):
    return int(text[:-1]) * TEXT[text[-1]]


def nice(x):
    return min(n for n in NICE if n >= x)


def catalogue(period):
    windows = [("page", 5 * M, H), ("page", 30 * M, 6 * H), ("ticket", 2 * H, D), ("ticket", 6 * H, 3 * D)]
    shares = {7: (F(8, 100), F(1, 8), F(1, 5), F(42, 100))}.get(period // D, (F(1, 50), F(1, 20), F(1, 10), F(1, 10)))
    if period // D in (7, 28, 30):
        return [(sev, s, l, p * period / l) for (sev, s, l), p in zip(windows, shares)]
    grow = F(period, 30 * D)
    return [(sev, nice(s * grow), nice(l * grow), p * 30 * D / l) for (sev, s, l), p in zip(windows, shares)]


def tiers(budget, period, scan, held, rescan):
    by_place = {}
    for sev, short, long, factor in catalogue(period):
        need_short = max(short, 4 * SCRAPE) if held else max(short, 4 * SCRAPE, 2 * scan)
        new_short = nice(need_short)
        new_long = max(nice(max(long, 2 * scan)), nice(4 * new_short))
        if new_long > long:
            quarter = F(period, 4 * new_long)
            factor = sorted([F(1), min(factor, quarter)])[-1]
        place = ("ticket" if scan > 6 * H and not rescan else sev, new_long)
        by_place.setdefault(place, []).append((factor, new_short))
    for (sev, long), found in sorted(by_place.items()):
        factor, short = min(f for f, _ in found), min(s for _, s in found)
        if factor * budget < 1:
            yield f"{sev}:{short}:{long}:{float(factor)!r}:{float(factor * long / period)!r}"


print("objective,period,scan,kind,rescan,tiers")
for t, p, s, kind, rescan in product(OBJECTIVES, PERIODS, SCANS, ("held", "event"), ("no", "yes")):
    found = tiers(1 - F(t), seconds(p), seconds(s), kind == "held", rescan == "yes")
    print(f"{t},{p},{s},{kind},{rescan},{' '.join(found)}")
