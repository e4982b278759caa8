"""Ratios, budgets and forecasts of random histories by brute force: every minute is a row of a table, and everything is
added up in exact fractions. Writes timelines.csv beside it. Nothing is shared with the program but slo.md sections 2, 4, 7.
Run: python3 tests/slo/timelines.py > tests/slo/timelines.csv
"""

from fractions import Fraction as F
from random import Random

DAY = 1440
WINDOWS = [5, 60, 360, DAY]
OBJECTIVES = ["0.9", "0.95", "0.99", "0.995"]


def bad_total(counts, unknown, waived):
    g, x, u, w = counts
    bad, total = x, g + x
    for policy, n in ((unknown, u), (waived, w)):
        bad += n if policy == "bad" else 0
        total += n if policy in ("bad", "good") else 0
    return bad, total


def case(seed):
    r = Random(seed)
    period = r.choice([2, 3, 5]) * DAY
    now = r.choice([DAY // 2, period - 7, period + 100, 2 * period])
    objective = r.choice(OBJECTIVES)
    unknown, waived = r.choice(["exclude", "bad", "good"]), r.choice(["exclude", "bad", "good"])
    # The population changes, and most of it complies most of the time; sometimes nobody is there.
    counts, changes = {}, sorted({0} | {r.randrange(0, now) for _ in range(r.randrange(1, 12))})
    for at in changes:
        n = r.choice([0, 20, 100, 100, 400, 401])
        x, u, w = (r.randrange(0, max(1, n // 25) + 1) if n else 0 for _ in range(3))
        counts[at] = (n - x - u - w, x, u, w)
    steps = sorted((now + r.randrange(1, 2 * period), r.randrange(0, 4)) for _ in range(r.randrange(0, 3)))
    table, current = [], (0, 0, 0, 0)
    for minute in range(now):
        current = counts.get(minute, current)
        table.append(bad_total(current, unknown, waived))

    def over(width):
        rows = table[max(0, now - width):]
        return sum(b for b, _ in rows), sum(t for _, t in rows)

    def ratio(width):
        bad, total = over(width)
        return F(bad, total) if total else None

    b = 1 - F(objective)
    bad_now, n_now = table[-1]
    e = ratio(period)
    left = None if e is None else 1 - e / b
    # A history begins when anybody is there, in whatever state.
    start = min((at for at, c in counts.items() if sum(c)), default=now)
    full = None
    if e is not None:
        bad, total = over(period)
        whole = total + n_now * max(0, period - (now - start))
        full = 1 - bad / (b * whole)
    runs_out = None
    if e is not None and n_now:
        allowed, spent, future = b * n_now * period, F(over(period)[0]), []
        runs_out = float("inf")
        for d in range(3 * period + 1):
            if spent >= allowed:
                runs_out = F(d)
                break
            future.append(bad_now + sum(n for at, n in steps if at <= now + d))
            behind = now + d - period
            leaving = 0 if behind < 0 else table[behind][0] if behind < now else future[behind - now]
            slope = future[-1] - leaving
            if slope > 0 and spent + slope > allowed:
                runs_out = d + (allowed - spent) / slope
                break
            spent += slope
        runs_out = runs_out * 60
    shown = lambda x: "" if x is None else repr(float(x))
    fields = [
        objective, str(period), str(now), unknown, waived,
        " ".join(f"{at}:{':'.join(map(str, c))}" for at, c in counts.items()),
        " ".join(f"{at}:{n}" for at, n in steps),
    ]
    return ",".join(fields + [shown(ratio(w)) for w in WINDOWS] + [shown(e), shown(left), shown(full), shown(runs_out)])


print("objective,period,now,unknown,waived,counts,steps,e_5m,e_1h,e_6h,e_1d,e_period,remaining,remaining_full,exhaustion")
for seed in range(200):
    print(case(seed))
